// What a site uses of Clerk's browser script, for the double: one click signs the one user in.
(() => {
	const home = new URL(document.currentScript.src).origin;
	const listeners = [];
	const post = async (path) => {
		const answer = await fetch(`${home}/v1/client/${path}`, { method: 'POST' });
		if (!answer.ok) throw new Error(`Clerk answered ${answer.status}`);
		return answer.json();
	};
	const clerk = {
		publishableKey: document.currentScript.dataset.clerkPublishableKey,
		user: null,
		session: null,
		load: async () => {},
		addListener: (listener) => void listeners.push(listener),
		openSignIn: async () => {
			const { session, user } = await post('sign_ins');
			clerk.user = user;
			clerk.session = {
				id: session,
				getToken: async ({ template } = {}) =>
					(await post(`sessions/${session}/tokens${template ? `/${template}` : ''}`)).jwt
			};
			listeners.forEach((listener) => listener());
		},
		signOut: async () => {
			await post(`sessions/${clerk.session.id}/remove`);
			clerk.user = clerk.session = null;
			listeners.forEach((listener) => listener());
		}
	};
	window.Clerk = clerk;
})();
