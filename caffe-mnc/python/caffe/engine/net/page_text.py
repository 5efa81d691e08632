"""The text of the page that shows a net; @TITLE@, @FACTS@, @GRAPH@ and @LAYERS@ are filled in."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>@TITLE@</title>
<style>
 body { margin: 0; font: 13px/1.45 system-ui, sans-serif; color: #222; }
 header { position: fixed; top: 0; left: 0; right: 0; height: 44px; background: #f4f4f6;
   border-bottom: 1px solid #ccc; display: flex; align-items: center; gap: 1em; padding: 0 1em; }
 header h1 { font-size: 16px; margin: 0; } header .facts { color: #555; }
 input { font: inherit; padding: .25em .6em; width: 15em; margin-left: auto; }
 main { margin: 45px 380px 0 0; overflow: auto; height: calc(100vh - 45px); }
 aside { position: fixed; top: 45px; right: 0; bottom: 0; width: 360px; overflow: auto;
   border-left: 1px solid #ccc; padding: 0 10px; background: #fff; box-sizing: border-box; }
 aside h2 { font-size: 15px; margin: .8em 0 .4em; overflow-wrap: anywhere; }
 aside dt { color: #666; margin-top: .4em; } aside dd { margin: 0; overflow-wrap: anywhere; }
 pre { background: #f4f4f6; padding: .6em; overflow: auto; font-size: 12px; }
 path { fill: none; stroke: #999; stroke-width: 1.3; }
 .layer { cursor: pointer; } .layer:focus { outline: none; }
 .layer rect { fill: color-mix(in srgb, var(--color) 28%, white); stroke: #888; rx: 4px; }
 .layer text { font-size: 12px; } .layer .kind { font-size: 10px; fill: #555; }
 .layer.found rect { stroke: #d40; stroke-width: 2.5; }
 .layer.chosen rect { stroke: #04c; stroke-width: 3; }
 .searching .layer:not(.found) { opacity: .3; }
</style></head><body>
<header><h1>@TITLE@</h1><span class="facts">@FACTS@</span>
 <input id="search" type="search" placeholder="search names and types" aria-label="search">
 <span id="count"></span></header>
<main id="view">@GRAPH@</main>
<aside id="fields"><p>Click a layer to see its fields. Enter in the search field goes to the next
 match.</p></aside>
<script>
"use strict";
const layers = @LAYERS@;
const boxes = new Map([...document.querySelectorAll(".layer")].map(
  box => [box.dataset.layer, box]));
let found = [], next = 0;

function part(parent, tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  parent.append(element);
}

function choose(name) {
  if (!Object.hasOwn(layers, name)) return;
  for (const box of boxes.values()) box.classList.toggle("chosen", box.dataset.layer === name);
  const fields = document.getElementById("fields"), about = layers[name];
  fields.replaceChildren();
  part(fields, "h2", name);
  const list = document.createElement("dl");
  for (const [key, value] of Object.entries(about)) {
    if (key === "prototxt" || (Array.isArray(value) && !value.length)) continue;
    part(list, "dt", key);
    for (const each of [value].flat()) part(list, "dd", each);
  }
  fields.append(list);
  part(fields, "pre", about.prototxt);
}

function search(text) {
  const words = text.toLowerCase().split(/\\s+/).filter(Boolean);
  found = words.length ? Object.keys(layers).filter(name => words.every(word =>
    name.toLowerCase().includes(word) || layers[name].type.toLowerCase().includes(word))) : [];
  next = 0;
  const names = new Set(found);
  for (const [name, box] of boxes) box.classList.toggle("found", names.has(name));
  document.getElementById("view").classList.toggle("searching", words.length > 0);
  document.getElementById("count").textContent = words.length ? `${found.length} found` : "";
}

function show(name) {
  choose(name);
  boxes.get(name)?.scrollIntoView({block: "center", inline: "center"});
}

document.getElementById("view").addEventListener("click", event => {
  const box = event.target.closest(".layer");
  if (box) choose(box.dataset.layer);
});
document.getElementById("view").addEventListener("keydown", event => {
  const box = event.target.closest(".layer");
  if (box && event.key === "Enter") choose(box.dataset.layer);
});
document.getElementById("search").addEventListener("input", event => search(event.target.value));
document.getElementById("search").addEventListener("keydown", event => {
  if (event.key === "Enter" && found.length) show(found[next++ % found.length]);
});
if (location.hash.length > 1) show(decodeURIComponent(location.hash.slice(1)));
</script></body></html>
"""
