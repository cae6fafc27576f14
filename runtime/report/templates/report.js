// Unpacks plotly.js, draws the figures in the page's theme, and notes on <html> whether all went well.
"use strict";
(() => {
  const root = document.documentElement;
  const errors = [];
  const note = (message) => {
    errors.push(String(message));
    root.dataset.scriptErrors = errors.join(" | ");
  };
  root.dataset.scriptErrors = "";
  addEventListener("error", (event) => note(event.message));
  addEventListener("unhandledrejection", (event) => note(event.reason));
  addEventListener("securitypolicyviolation", (event) => note(`blocked ${event.violatedDirective} ${event.blockedURI}`));
  const consoleError = console.error;
  console.error = (...parts) => { note(parts.join(" ")); consoleError.apply(console, parts); };

  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figure-data");
  const dark = read("dark-data");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)").matches; // a finger on a plot scrolls the page
  let paper = false; // printing is always light, and as wide as a sheet
  const PAPER_WIDTH = 640;

  const themed = (value, key) => {
    if (Array.isArray(value)) return value.map((item) => themed(item, key));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, k)]));
    return typeof value === "string" && key === "color" && dark[value] ? dark[value] : value;
  };

  function layout(own, height, isDark) {
    const style = getComputedStyle(root);
    const token = (name) => style.getPropertyValue(name).trim();
    const ink = isDark ? token("--dark-ink") : token("--light-ink");
    const grid = isDark ? token("--dark-line") : token("--light-line");
    const card = isDark ? token("--dark-card") : token("--light-card");
    const axis = { gridcolor: grid, linecolor: grid, zerolinecolor: grid, automargin: true, ticks: "outside", tickcolor: grid };
    const join = (mine) => ({ ...axis, ...mine, title: { standoff: 10, font: { size: 13 }, ...(mine || {}).title } });
    return {
      ...own, height, ...(paper ? { width: PAPER_WIDTH, autosize: false } : { width: undefined, autosize: true }), paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: token("--font"), size: 13, color: ink }, margin: { l: 16, r: 24, t: 30, b: 16, ...own.margin },
      xaxis: join(own.xaxis), yaxis: join(own.yaxis), hovermode: "closest", dragmode: coarse ? false : "zoom",
      hoverlabel: { bgcolor: card, bordercolor: grid, font: { family: token("--font"), color: ink } },
    };
  }

  function draw() {
    const isDark = prefersDark.matches && !paper;
    return Promise.all([...document.querySelectorAll(".plot")].map((place) => {
      const figure = figures[place.dataset.section][Number(place.dataset.number)];
      const shown = isDark ? themed(figure) : structuredClone(figure);
      return Plotly.react(place, shown.data, layout(shown.layout, Number(place.dataset.height), isDark), {
        responsive: true, displayModeBar: false,
      });
    }));
  }

  function check() {
    const places = [...document.querySelectorAll(".plot")];
    const full = places.filter((place) =>
      [...place.querySelectorAll(".scatterlayer .trace path, .barlayer .trace path")].some((path) => (path.getAttribute("d") || "").length > 4));
    root.dataset.plotsOk = `${full.length}/${places.length}`;
    if (full.length !== places.length) note("a plot is empty");
    const cut = places.flatMap((place) => {
      const edge = place.getBoundingClientRect();
      return [...place.querySelectorAll("text")].filter((text) => {
        const box = text.getBoundingClientRect();
        return box.width > 0 && (box.left < edge.left - 1 || box.right > edge.right + 1 || box.top < edge.top - 1 || box.bottom > edge.bottom + 1);
      }).map((text) => text.textContent);
    });
    root.dataset.cut = cut.join(" | "); // what a reader could not read to its end
  }

  async function unpack() {
    const bytes = Uint8Array.from(atob(document.getElementById("plotly-data").textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  const print = (on) => () => {
    paper = on;
    for (const element of document.querySelectorAll("details")) {
      if (on && !element.open) { element.open = true; element.dataset.shut = ""; }
      else if (!on && "shut" in element.dataset) { element.open = false; delete element.dataset.shut; }
    }
    draw();
  };

  unpack().then(draw).then(check).then(() => {
    prefersDark.addEventListener("change", draw);
    addEventListener("beforeprint", print(true));
    addEventListener("afterprint", print(false));
    root.dataset.done = "yes";
  }).catch((error) => {
    note(error);
    for (const place of document.querySelectorAll(".plot"))
      place.textContent = "This browser could not draw the plot; its numbers stand in the tables below.";
  });
})();
