/** Addresses within the page: what stands behind #. */

export type Route =
	| { readonly view: "overview" | "latents" | "live" }
	| { readonly view: "latent"; readonly latent: number };

export function routeOf(hash: string): Route {
	const path = hash.replace(/^#\/?/, "");
	const latent = /^latent\/(\d+)$/.exec(path)?.[1];
	if (latent !== undefined) return { view: "latent", latent: Number(latent) };
	return { view: path === "latents" || path === "live" ? path : "overview" };
}

export function addressOf(route: Route): string {
	return route.view === "latent" ? `#latent/${route.latent}` : `#${route.view}`;
}
