// What the eye needs, of every piece of text that is shown: its size, and its contrast with what is behind it (WCAG 2.2).
() => {
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b]
    .map((each) => each / 255)
    .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    .reduce((sum, each, n) => sum + each * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = channels(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  // The signs in the calendar's squares: the same colours stand in the legend, which is measured.
  const signs = new Set(["~", "0", "?", "\u00d7", "\u2013"]);
  document.querySelectorAll("details").forEach((each) => { each.open = true; });
  const told = [];
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    const drawing = element.closest("svg");
    if (!text || (drawing && signs.has(text) && element.getAttribute("font-weight") === "bold")) continue;
    const style = getComputedStyle(element);
    const scale = drawing ? drawing.getBoundingClientRect().width / drawing.viewBox.baseVal.width : 1;
    const [a, b] = [channels(drawing ? style.fill : style.color), behind(element)].map(luminance);
    told.push({
      text: text.slice(0, 40),
      size: parseFloat(style.fontSize) * scale,
      contrast: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05),
    });
  }
  return told;
}
