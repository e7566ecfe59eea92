/** Pages that are one file: markup in which every value is escaped, and a style for light, dark and paper. */

/** Markup, as {@link html} makes it. */
export class Html {
	readonly text: string;

	constructor(text: string) {
		this.text = text;
	}
}

export type HtmlValue = Html | string | number | undefined | readonly HtmlValue[];

/** Markup from a template. Values are text, and escaped, unless they are markup themselves; undefined is nothing. */
export function html(parts: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
	return new Html(parts.map((part, i) => part + (i < values.length ? markup(values[i]) : "")).join(""));
}

function markup(value: HtmlValue): string {
	if (value === undefined) return "";
	if (value instanceof Html) return value.text;
	return Array.isArray(value) ? value.map(markup).join("") : Bun.escapeHTML(String(value));
}

/** A whole page, which fetches nothing and runs no script. */
export function page(title: string, body: Html): string {
	return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
${body}
</body>
</html>
`.text;
}

/** Colours that are told apart with any colour vision, on white and on near-black. */
const TONES = [
	["#1f6fd6", "#6ea8ff"],
	["#d3590a", "#ff9c57"],
	["#128257", "#48c78e"],
	["#b1308f", "#f07fd4"],
	["#8a6a00", "#e3bb3f"],
	["#0d7f95", "#4ac6da"],
	["#c22b3b", "#ff8089"],
	["#6546c9", "#ab9aff"],
] as const;

/** Class of the n-th colour. */
export function tone(n: number): string {
	return `tone${n % TONES.length}`;
}

const tones = (which: 0 | 1) => TONES.map((pair, i) => `--tone${i}:${pair[which]}`).join(";");
const LIGHT = `--ground:#fff;--ink:#1b1f24;--soft:#5a6472;--line:#e3e7ec;--stripe:#f6f8fa;${tones(0)}`;
const DARK = `--ground:#14171b;--ink:#e8ebef;--soft:#9aa5b3;--line:#2b323a;--stripe:#1b2026;${tones(1)}`;

const STYLE = `
:root{${LIGHT}}
@media (prefers-color-scheme:dark){:root{${DARK}}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.5rem 4rem;max-width:66rem;background:var(--ground);color:var(--ink);
	font:15px/1.5 system-ui,sans-serif;print-color-adjust:exact}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .25rem}
h2{font-size:1.15rem;margin:2.5rem 0 .5rem}
h3{font-size:1rem;margin:1.5rem 0 .25rem}
p{margin:.25rem 0 .75rem;max-width:46rem}
.soft{color:var(--soft)}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}
figure{margin:1rem 0;overflow-x:auto}
svg{display:block;width:100%;min-width:42rem;height:auto;font:12px system-ui,sans-serif}
svg text{fill:var(--soft)}
svg .title{fill:var(--ink);font-size:13px}
svg .grid{stroke:var(--line);stroke-width:1}
svg .frame{stroke:var(--soft);stroke-width:1;fill:none}
svg .curve{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round}
svg .leader{fill:none;stroke:currentColor;opacity:.35}
svg text.name{fill:currentColor;font-weight:600}
svg .mark{stroke:currentColor;stroke-width:1.75;fill:currentColor}
svg .mark.open{fill:var(--ground)}
svg .point:hover .mark{stroke:var(--ink);stroke-width:3}
svg .target{fill:transparent;stroke:none}
${TONES.map((_, i) => `.tone${i}{color:var(--tone${i})}`).join("")}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;margin:0 0 .75rem;padding:0}
.legend li{display:flex;align-items:center;gap:.4rem}
.legend svg{width:34px;min-width:0;height:16px;flex:none}
.legend span{color:var(--ink)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;text-align:left;white-space:nowrap;border-bottom:1px solid var(--line)}
th{font-weight:600;border-bottom-color:var(--soft)}
tbody tr:nth-child(even){background:var(--stripe)}
.number{text-align:right}
@media print{:root{${LIGHT}}body{max-width:none;padding:0}tr,figure{break-inside:avoid}svg{min-width:0}.scroll{overflow:visible}table{font-size:8px}th,td{padding:.1rem .3rem}}
`;
