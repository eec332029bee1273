"use strict";
(() => {
  document.documentElement.classList.add("js");
  const table = document.getElementById("machines");
  if (!table) return;
  const bodies = [...table.tBodies];
  const filter = document.getElementById("filter");
  const count = document.getElementById("count");
  const all = document.getElementById("all");
  const nothing = document.getElementById("nothing");
  const texts = new Map(bodies.map((body) => [body, body.textContent.toLowerCase()]));

  const fit = () => {
    const root = document.documentElement;
    root.classList.remove("fits");
    root.classList.toggle("fits", table.parentElement.scrollWidth <= table.parentElement.clientWidth);
  };

  const open = (body, wanted) => {
    const button = body.querySelector("[aria-expanded]");
    if (!button) return;
    button.setAttribute("aria-expanded", String(wanted));
    body.classList.toggle("open", wanted);
  };

  const show = () => {
    const wanted = document.querySelector("input[name=show]:checked").value;
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const body of bodies) {
      const kind = wanted === "all" || body.dataset.status === wanted
        || (wanted === "drifted" && "drifted" in body.dataset);
      const text = texts.get(body);
      body.hidden = !(kind && words.every((word) => text.includes(word)));
      shown += !body.hidden;
    }
    nothing.hidden = shown > 0;
    count.value = `${shown} of ${bodies.length} machines shown`;
  };

  const key = (body, column) => {
    const text = body.rows[0].cells[column].dataset.k;
    return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
  };

  const sort = (head) => {
    const column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    const keyed = bodies.map((body, place) => ({ body, place, value: key(body, column) }));
    // Equal ones stay in the order of their names.
    keyed.sort((a, b) => (a.value < b.value ? -sign : a.value > b.value ? sign : a.place - b.place));
    table.append(...keyed.map((entry) => entry.body));
  };

  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) sort(button.closest("th"));
  });
  table.addEventListener("click", (event) => {
    const body = event.target.closest("tbody");
    const row = event.target.closest("tr");
    if (!body || row !== body.rows[0] || String(getSelection())) return;
    open(body, !body.classList.contains("open"));
  });
  document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
  document.querySelector(".controls").addEventListener("input", show);
  all.addEventListener("click", () => {
    const wanted = all.getAttribute("aria-pressed") !== "true";
    all.setAttribute("aria-pressed", String(wanted));
    all.textContent = wanted ? "Close all" : "Open all";
    for (const body of bodies) open(body, wanted);
  });
  addEventListener("resize", fit);
  fit();
  show();
})();
