/** How a page of features looks: in light, in the dark, on a telephone and on paper. */
export const STYLE = `
:root{--ground:#fff;--panel:#f7f8fa;--ink:#1b1f24;--soft:#5a6472;--line:#e3e7ec;--accent:#1b65c8;--hot:255,140,30;--bar:#1f6fd6;--chip:#eef1f5}
@media (prefers-color-scheme:dark){:root{--ground:#14171b;--panel:#191d22;--ink:#e8ebef;--soft:#9aa5b3;--line:#2b323a;--accent:#6ea8ff;--hot:205,98,12;--bar:#6ea8ff;--chip:#262c34}}
*{box-sizing:border-box}
[hidden]{display:none!important}
html,body{height:100%}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif;-webkit-text-size-adjust:100%}
a{color:var(--accent);text-decoration:none}
a:hover{text-decoration:underline}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
h2:focus-visible,.scroller:focus-visible{outline:none}
.loading{padding:3rem 1.5rem;color:var(--soft)}
.soft{color:var(--soft)}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}
#page{height:100%;display:grid;grid-template:auto minmax(0,1fr)/22rem minmax(0,1fr);grid-template-areas:"top top" "list main"}
#page:has(.loading){display:block}
.top{grid-area:top;display:flex;align-items:center;gap:.25rem 1.5rem;padding:.6rem 1.25rem;border-bottom:1px solid var(--line);flex-wrap:wrap}
.top h1{font-size:1.05rem;margin:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;max-width:100%}
.top h1 a{color:inherit}
.top nav{display:flex;gap:.25rem}
.top nav a{padding:.2rem .7rem;border-radius:1rem;color:var(--soft)}
.top nav a[aria-current]{background:var(--chip);color:var(--ink)}
.top nav a:hover{text-decoration:none;color:var(--ink)}
.keys{margin:0 0 0 auto;font-size:12px}
kbd{font:11px ui-monospace,monospace;border:1px solid var(--line);border-radius:4px;padding:0 .3rem;background:var(--panel)}
.list{grid-area:list;display:flex;flex-direction:column;min-height:0;border-right:1px solid var(--line);background:var(--panel)}
.controls{padding:.75rem .75rem .4rem;border-bottom:1px solid var(--line)}
input[type=search],select,textarea,.turn,.primary{font:inherit;color:inherit;background:var(--ground);border:1px solid var(--line);border-radius:6px;padding:.35rem .6rem}
input[type=search],textarea{width:100%}
.sorting{display:flex;align-items:center;gap:.4rem;margin-top:.5rem}
.sorting select{padding:.15rem .3rem;font-size:13px;max-width:9.5rem}
.turn{padding:.1rem .5rem;cursor:pointer}
.count{margin:0 0 0 auto;font-size:12px;color:var(--soft)}
.scroller{flex:1;overflow-y:auto;min-height:0;position:relative}
.spacer{position:relative}
.item{position:absolute;left:0;right:0;height:56px}
.explained .item{height:76px}
.item a{display:grid;grid-template-columns:3.6rem minmax(0,1fr) auto;grid-auto-rows:auto;align-content:center;column-gap:.5rem;height:100%;padding:0 .75rem;color:inherit;border-bottom:1px solid var(--line)}
.item a:hover{background:var(--chip);text-decoration:none}
.item a:focus-visible{outline-offset:-2px}
.item a[aria-current]{background:var(--chip);box-shadow:inset 3px 0 var(--accent)}
.item .number{grid-row:1/3;grid-column:1;align-self:center;font-variant-numeric:tabular-nums;color:var(--accent)}
.item .dead .number{color:inherit}
.item .tokens{grid-column:2;grid-row:1/3;overflow:hidden;white-space:nowrap;text-overflow:ellipsis;align-self:center}
.explained .item .tokens .chip{font-size:12px}
.item .what+.tokens{grid-row:2}
.item .what{grid-column:2;font-size:13.5px;line-height:1.25;margin-bottom:.2rem;overflow:hidden;display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:2;overflow-wrap:anywhere}
.item .figure{grid-column:3;grid-row:1/3;align-self:center;font-size:12px;font-variant-numeric:tabular-nums}
.item .dead .chip{color:var(--soft)}
.chip{display:inline-block;unicode-bidi:isolate;background:var(--chip);border-radius:4px;padding:0 .35rem;margin-right:.25rem;font:13px/1.5 ui-monospace,monospace;white-space:pre;max-width:14rem;overflow:hidden;text-overflow:ellipsis;vertical-align:bottom}
.item a:hover .chip,.item a[aria-current] .chip{background:var(--ground)}
main{grid-area:main;overflow-y:auto;padding:1.25rem 1.75rem 4rem;scrollbar-gutter:stable}
main>article{max-width:64rem}
h2{font-size:1.35rem;line-height:1.3;margin:0 0 .5rem}
h3{font-size:1rem;margin:1.75rem 0 .5rem}
.figures{display:flex;flex-wrap:wrap;gap:.6rem 1.75rem;margin:.5rem 0}
.figures dt{font-size:12px;color:var(--soft)}
.figures dd{margin:0;font-variant-numeric:tabular-nums}
.figures.large dd{font-size:1.35rem}
.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.25rem 1rem;margin:0}
.facts dt{color:var(--soft)}
.facts dd{margin:0;overflow-wrap:anywhere}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:0 2.5rem;align-items:start}
.explanation{font-size:1.15rem;line-height:1.4;margin:.25rem 0 .4rem;max-width:50rem;overflow-wrap:anywhere}
.by{font-size:13px;margin-left:.6rem;white-space:nowrap}
.note{margin:.2rem 0;overflow-wrap:anywhere}
.about{margin:.3rem 0 .75rem}
.about .chip{font-size:15px;padding:.05rem .5rem}
.scores dd{font-weight:600}
.steps{display:flex;justify-content:space-between;max-width:64rem;margin-bottom:.5rem;font-size:14px}
.examples{list-style:none;margin:0;padding:0}
.examples li{display:grid;grid-template-columns:3.6rem minmax(0,1fr);gap:.75rem;padding:.35rem 0;border-bottom:1px solid var(--line)}
.value{text-align:right;color:var(--soft);font-size:13px;line-height:1.6;font-variant-numeric:tabular-nums;cursor:help}
.text{font:14px/1.65 ui-serif,Georgia,"Times New Roman",serif;white-space:pre-wrap;overflow-wrap:anywhere}
mark{color:inherit;border-radius:2px;padding:.1em 0;background:rgba(var(--hot),calc(var(--heat)*.75));-webkit-box-decoration-break:clone;box-decoration-break:clone}
mark.at{box-shadow:inset 0 -2px rgb(var(--hot));font-weight:600}
details.text summary{cursor:pointer;list-style:none}
details.text summary::-webkit-details-marker{display:none}
details.text:not([open]) summary::after{content:" … more";color:var(--accent);font-family:system-ui,sans-serif;font-size:13px}
.quiet{color:var(--soft)}
mark .quiet{color:inherit}
.chart{display:block;width:100%;max-width:36rem;height:auto;font:11px system-ui,sans-serif}
.chart text{fill:var(--soft)}
.chart .grid{stroke:var(--line)}
.chart .frame{stroke:var(--soft);fill:none}
.chart .bar{fill:var(--bar)}
.chart .curve{fill:none;stroke:var(--bar);stroke-width:2;stroke-linejoin:round}
figure{margin:0 0 1rem}
figcaption{font-size:13px}
table{border-collapse:collapse;width:100%;font-size:14px}
caption{text-align:left;color:var(--soft);font-size:12px}
th{font-weight:400;font-size:12px;color:var(--soft);text-align:left}
td,th{padding:.2rem .5rem .2rem 0;border-bottom:1px solid var(--line)}
td.tokens{width:99%;max-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
td button.link{padding-left:.6rem}
.amount{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.amount{background:linear-gradient(to left,color-mix(in srgb,var(--bar) 22%,transparent) calc(var(--share,0)*100%),transparent 0);padding-left:.75rem;padding-right:.25rem}
.logits.lowered td.amount{--bar:#b1308f}
.logits td.amount{width:55%}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:1.25rem}
.map .stage{position:relative}
.map canvas{display:block;width:100%;height:min(34rem,70vh);background:var(--panel);border:1px solid var(--line);border-radius:6px}
.map canvas.over{cursor:pointer}
.tip{position:absolute;margin:0;padding:.2rem .5rem;font-size:13px;background:var(--ink);color:var(--ground);border-radius:4px;pointer-events:none;white-space:pre;max-width:24rem;overflow:hidden;text-overflow:ellipsis}
.ramp{display:flex;align-items:center;gap:.4rem;font-size:12px}
.steps .dot,.dot{display:inline-block;width:.7rem;height:.7rem;border-radius:50%}
.ramp .steps{display:inline-flex;gap:2px;margin:0}
button.link{font:inherit;background:none;border:0;padding:0;color:var(--accent);cursor:pointer;text-align:left}
button.link:hover,button.link[aria-pressed=true]{text-decoration:underline}
.primary{background:var(--accent);border-color:var(--accent);color:#fff;cursor:pointer}
.primary:disabled{opacity:.5;cursor:default}
@media (prefers-color-scheme:dark){.primary{color:#0c1420}}
textarea{resize:vertical;margin-bottom:.5rem}
.picker label{display:block;font-size:13px;color:var(--soft)}
.status:empty{display:none}
.status{padding:.5rem .75rem;background:var(--chip);border-radius:6px;max-width:46rem}
.live td.amount{min-width:5.5rem}
.live .text{font-size:17px;line-height:1.9;margin:1.25rem 0 .25rem}
.token{font:inherit;color:inherit;background:none;border:0;padding:0;margin:0;white-space:pre-wrap;cursor:pointer;text-align:left;display:inline}
.token:hover mark,.token:hover span{outline:1px solid var(--soft)}
@media (min-width:56.01rem){.top nav a[data-view=latents]{display:none}}
@media screen and (max-width:56rem){
	.facts{grid-template-columns:minmax(0,1fr);gap:0}
	.facts dd{margin-bottom:.4rem}
	html,body{height:auto}
	#page{display:block}
	.top{position:sticky;top:0;background:var(--ground);z-index:2;padding:.5rem .9rem}
	.top h1{flex-basis:100%}
	.keys{display:none}
	main{padding:.9rem .9rem 3rem}
	.list{display:none;border:0}
	body[data-view=latents] .list{display:flex;height:calc(100dvh - 5.1rem)}
	body[data-view=latents] main{display:none}
	.examples li{grid-template-columns:minmax(0,1fr);gap:0}
	.value{text-align:left;font-size:12px}
	.pair{gap:.75rem}
	.live td.amount{min-width:4rem}
	.live tr>:nth-child(3){display:none}
}
@media print{
	:root{--ground:#fff;--panel:#fff;--ink:#000;--soft:#444;--line:#ccc;--accent:#000;--chip:#eee;--bar:#1f6fd6;--hot:255,140,30}
	*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
	html,body,#page{display:block;height:auto}
	.list,.top nav,.keys,nav.steps,.map .soft:not(.ramp),form,.picker{display:none!important}
	.top{padding:0 0 .4rem;margin-bottom:.8rem}
	main{overflow:visible;padding:0}
	.columns{grid-template-columns:1fr 1fr;gap:0 1.5rem}
	.facts dt,.facts dd{font-size:13px}
	.map canvas{width:auto;height:auto;max-width:100%;max-height:12cm}
	.examples li,figure,tr,.map{break-inside:avoid}
	h3{break-after:avoid}
}
`;
