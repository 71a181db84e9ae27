"use strict";
// Search, filters, sorting and copy buttons. Without this file the pages are whole, and only these are missing.
// Texts of entries are read and compared here, and written with textContent only.

(() => {
  const byId = (id) => document.getElementById(id);
  const announce = (text) => { byId("announce").textContent = text; };
  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

  // --- Copy buttons ---------------------------------------------------------------------------------------------------

  const select = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };

  const copy = async (code) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      return true;
    } catch {
      select(code);
      return document.execCommand("copy");
    }
  };

  for (const command of document.querySelectorAll(".command")) {
    const code = command.querySelector("code");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy: " + (command.querySelector("p")?.textContent ?? "citation"));
    button.addEventListener("click", async () => {
      const done = await copy(code);
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      announce(done ? "Copied." : "The command is selected.");
      setTimeout(() => { button.textContent = "Copy"; announce(""); }, 2000);
    });
    command.append(button);
  }

  // --- Tables ---------------------------------------------------------------------------------------------------------

  const form = byId("filters");
  if (!form) return;

  const search = byId("q");
  const choices = [...form.querySelectorAll("select")];
  const more = byId("more-filters");
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  const readRow = (row) => ({
    element: row,
    text: fold(row.textContent + " " + row.dataset.more),
    values: new Map(choices.filter(({ name }) => name in row.dataset).map(({ name }) => [name, new Set(JSON.parse(row.dataset[name]))])),
  });

  const readTable = (element) => ({
    element,
    name: element.dataset.name,
    body: element.tBodies[0],
    headings: [...element.tHead.querySelectorAll("th")],
    none: element.parentElement.querySelector(".none"),
    rows: [...element.tBodies[0].rows].map(readRow),
    sort: { key: "title", descending: false },
  });

  const tables = [...document.querySelectorAll("table[data-name]")].map(readTable);

  const keyOf = (cell, isNumber) => {
    if (isNumber) return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    return (cell.querySelector("a") ?? cell).textContent.trim();
  };

  // Rows without a value come last, whichever way the others are.
  const compare = (one, other, descending) => {
    if (one === null || other === null) return (one === null) - (other === null);
    const order = typeof one === "number" ? one - other : collator.compare(one, other);
    return descending ? -order : order;
  };

  const sortTable = (table) => {
    const column = table.headings.findIndex((heading) => heading.dataset.key === table.sort.key);
    const isNumber = table.headings[column].dataset.kind === "number";
    const keyed = table.rows.map((row) => [keyOf(row.element.cells[column], isNumber), row]);
    keyed.sort((one, other) => compare(one[0], other[0], table.sort.descending));
    table.body.append(...keyed.map(([, row]) => row.element));
    table.headings.forEach((heading, index) => {
      if (index === column) heading.setAttribute("aria-sort", table.sort.descending ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    });
  };

  const matches = (row, words, wanted) =>
    words.every((word) => row.text.includes(word)) && wanted.every(([name, value]) => row.values.get(name)?.has(value));

  const filterTables = () => {
    const words = fold(search.value).split(/\s+/).filter(Boolean);
    const active = choices.filter((choice) => choice.value);
    const wanted = active.map((choice) => [choice.name, choice.value]);
    const shown = tables.map((table) => {
      let count = 0;
      for (const row of table.rows) {
        const visible = matches(row, words, wanted);
        row.element.hidden = !visible;
        count += visible;
      }
      table.none.hidden = count > 0;
      table.element.hidden = count === 0;
      const { one, many } = table.element.dataset;
      const all = table.rows.length;
      return `${count} of ${all} ${all === 1 ? one : many}`;
    });
    for (const choice of choices) choice.classList.toggle("active", choice.value !== "");
    byId("active").textContent = active.length ? ` (${active.length} set)` : "";
    byId("clear").hidden = words.length + active.length === 0;
    byId("shown").textContent = `Shown: ${shown.join(", ")}.`;
  };

  // --- The page's address, so that what is shown can be sent to somebody ----------------------------------------------

  const sortName = (table) => `sort-${table.name}`;

  const writeAddress = () => {
    const parts = new URLSearchParams();
    if (search.value.trim()) parts.set("q", search.value.trim());
    for (const choice of choices) if (choice.value) parts.set(choice.name, choice.value);
    for (const table of tables) {
      const { key, descending } = table.sort;
      if (key !== "title" || descending) parts.set(sortName(table), descending ? `-${key}` : key);
    }
    const text = parts.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  };

  const readAddress = () => {
    const parts = new URLSearchParams(location.hash.slice(1));
    search.value = parts.get("q") ?? "";
    for (const choice of choices) {
      const value = parts.get(choice.name) ?? "";
      choice.value = [...choice.options].some((option) => option.value === value) ? value : "";
    }
    for (const table of tables) {
      const wanted = parts.get(sortName(table)) ?? "title";
      const key = wanted.replace(/^-/, "");
      const known = table.headings.some((heading) => heading.dataset.key === key);
      table.sort = known ? { key, descending: wanted.startsWith("-") } : { key: "title", descending: false };
      sortTable(table);
    }
    filterTables();
    if (choices.some((choice) => choice.value)) more.open = true;
  };

  // --- Wiring ---------------------------------------------------------------------------------------------------------

  const changed = () => { filterTables(); writeAddress(); };

  for (const table of tables) {
    for (const heading of table.headings) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      heading.replaceChildren(button);
      button.addEventListener("click", () => {
        const { key, kind } = heading.dataset;
        const again = table.sort.key === key;
        table.sort = { key, descending: again ? !table.sort.descending : kind === "number" };
        sortTable(table);
        writeAddress();
        announce(`Sorted by ${button.textContent}, ${table.sort.descending ? "descending" : "ascending"}.`);
      });
    }
  }

  search.addEventListener("input", changed);
  for (const choice of choices) choice.addEventListener("change", changed);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { changed(); search.focus(); }));
  window.addEventListener("hashchange", readAddress);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea, [contenteditable]");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    search.focus();
    search.select();
  });

  const wide = window.matchMedia("(min-width: 60rem)");
  const unfold = () => { if (wide.matches) more.open = true; };
  wide.addEventListener("change", unfold);
  form.hidden = false;
  readAddress();
  unfold();
})();
