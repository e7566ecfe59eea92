/** The page's program: opens what the page holds, and shows what its address names. */
import { h } from "./dom.ts";
import { latentView } from "./latent.ts";
import { latentList } from "./list.ts";
import { liveView } from "./live-view.ts";
import { overview } from "./overview.ts";
import { addressOf, type Route, routeOf } from "./routes.ts";
import { Search } from "./search.ts";
import { Store } from "./store.ts";

const TABS = { overview: "Overview", latents: "Latents", live: "Try text" } as const;

/** As the style has it. */
const wide = matchMedia("(min-width: 56.01rem)");

const page = document.getElementById("page")!;

try {
	start(await Store.open());
} catch (error) {
	page.replaceChildren(h("p", { class: "loading" }, `This page can't be shown: ${(error as Error).message}`));
}

function start(store: Store): void {
	const { columns, manifest } = store;
	const list = latentList(store, new Search(store));
	const main = h("main", {});
	const tabs = (["overview", "latents", "live"] as const)
		.filter((view) => view !== "live" || manifest.live)
		.map((view) => h("a", { href: addressOf({ view }), "data-view": view }, TABS[view]));
	const opened = () => {
		const route = routeOf(location.hash);
		return route.view === "latent" ? store.rowOf(route.latent) : undefined;
	};
	const open = (row: number | undefined) => {
		if (row !== undefined) location.hash = addressOf({ view: "latent", latent: columns.latent![row]! });
	};
	const ask = (query: string) => {
		list.ask(query);
		location.hash = addressOf({ view: "latents" });
	};
	// They keep what is in them while other pages are shown.
	const first = overview(store, ask);
	const live = manifest.live && liveView(store, manifest.live);

	/** Where there is room for both, the list stands beside the overview. */
	const tabOf = (view: Route["view"]) => {
		if (view === "latents" && wide.matches) return "overview";
		return view === "latent" ? "latents" : view;
	};

	async function show(): Promise<void> {
		const route = routeOf(location.hash);
		document.body.dataset.view = route.view;
		for (const tab of tabs) {
			const here = tab.dataset.view === tabOf(route.view);
			if (here) tab.setAttribute("aria-current", "page");
			else tab.removeAttribute("aria-current");
		}
		const row = opened();
		list.select(row);
		if (route.view === "live" && live) main.replaceChildren(live);
		else if (route.view !== "latent") main.replaceChildren(first);
		else if (row === undefined) {
			main.replaceChildren(h("p", {}, `This page has no latent ${route.latent}.`));
		} else {
			const detail = await store.detail(row);
			// Another may have been asked for meanwhile.
			if (opened() !== row) return;
			main.replaceChildren(steps(row), latentView(store, row, detail));
			if (document.activeElement === document.body) main.querySelector("h2")!.focus({ preventScroll: true });
			main.scrollTop = 0;
			scrollTo(0, 0);
		}
		document.title =
			row === undefined ? manifest.title : `Latent ${columns.latent![row]} · ${manifest.title}`;
		list.refresh();
	}

	function steps(row: number): HTMLElement {
		const [before, after] = [list.beside(row, -1), list.beside(row, 1)];
		const step = (name: string, to: number | undefined) =>
			to === undefined || to === row
				? h("span", {})
				: h("a", { href: addressOf({ view: "latent", latent: columns.latent![to]! }) }, name);
		return h(
			"nav",
			{ class: "steps", "aria-label": "Neighbours in the list" },
			step("← previous", before),
			step("next →", after),
		);
	}

	document.addEventListener("keydown", (event) => {
		const typing = event.target instanceof Element && event.target.matches("input, textarea, select");
		if (event.key === "Escape") {
			if (typing) (event.target as HTMLElement).blur();
			else location.hash = routeOf(location.hash).view === "latent" ? "#latents" : "#overview";
			return;
		}
		if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
		// A result of one's own is not left by accident.
		const stays = routeOf(location.hash).view === "live" && event.key !== "/";
		if (stays) return;
		if (event.key === "/") {
			event.preventDefault();
			if (wide.matches || routeOf(location.hash).view === "latents") list.search.focus();
			else {
				// On a narrow screen the list is not there until its page is shown.
				addEventListener("hashchange", () => list.search.focus(), { once: true });
				location.hash = addressOf({ view: "latents" });
			}
		} else if (event.key === "j" || event.key === "ArrowRight") open(list.beside(opened(), 1));
		else if (event.key === "k" || event.key === "ArrowLeft") open(list.beside(opened(), -1));
	});

	page.replaceChildren(
		h(
			"header",
			{ class: "top" },
			h("h1", {}, h("a", { href: "#overview" }, manifest.title)),
			h("nav", { "aria-label": "Parts of the page" }, tabs),
			h(
				"p",
				{ class: "keys soft" },
				kbd("/"),
				" search ",
				kbd("j"),
				kbd("k"),
				" next, previous ",
				kbd("Esc"),
				" back",
			),
		),
		list.element,
		main,
	);
	const showOrSay = () => {
		show().catch((error: Error) => main.replaceChildren(h("p", {}, error.message)));
	};
	addEventListener("hashchange", showOrSay);
	addEventListener("resize", () => list.refresh());
	showOrSay();
}

function kbd(key: string): HTMLElement {
	return h("kbd", {}, key);
}
