// The image carries no curl, so the site asks itself: exit 0 if GET /health answers 200, else 1.
const url = `http://127.0.0.1:${process.env.PORT ?? 3000}/health`;
try {
	const { status } = await fetch(url, { signal: AbortSignal.timeout(2000) });
	if (status !== 200) throw new Error(`answered ${status} instead of 200`);
} catch (error) {
	console.error(`GET ${url}: ${error.message}`);
	process.exitCode = 1;
}
