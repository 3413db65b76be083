import adapter from '@sveltejs/adapter-node';
import { vitePreprocess } from '@sveltejs/vite-plugin-svelte';

/**
 * SvelteKit's announcement to screen readers hides itself with an inline style, which the policy forbids: app.css hides it.
 *
 * @type {import('svelte/compiler').PreprocessorGroup}
 */
const announcer = {
	name: 'announcer',
	markup: ({ content }) => ({ code: content.replace(/(<div id="svelte-announcer"[^>]*?) style="[^"]*"/, '$1') })
};

/** @type {import('@sveltejs/kit').Config} */
export default {
	preprocess: [vitePreprocess(), announcer],
	kit: {
		// Everything is bundled: the image needs no node_modules.
		adapter: adapter({ precompress: true }),
		// What holds for every installation. src/lib/server/policy.ts adds what Clerk, Umami and tiles need where they are on.
		csp: {
			mode: 'nonce',
			directives: {
				'default-src': ['none'],
				'script-src': ['self'],
				'style-src': ['self'],
				'img-src': ['self', 'data:'],
				'connect-src': ['self'],
				'font-src': ['self'],
				'manifest-src': ['self'],
				'base-uri': ['none'],
				'form-action': ['self'],
				'frame-ancestors': ['none'],
				'object-src': ['none']
			}
		},
		version: { name: process.env.npm_package_version ?? '0' }
	}
};
