// Returns the contrast of each text that can be seen, the lowest first: {text, ratio, where}.
// A gradient counts as its worst colour; what is hidden from everybody but eyes as decoration
// (aria-hidden) is left out.
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parsed = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return a ? [r, g, b, a / 255] : [0, 0, 0, 0];
  };
  const over = (top, below, alpha) => [0, 1, 2].map((n) => top[n] * alpha + below[n] * (1 - alpha));
  const lightness = (colour) => {
    const [r, g, b] = colour.map((n) => {
      const c = n / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [high, low] = [lightness(one), lightness(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  // The colours that can lie behind an element: more than one where an ancestor has a gradient.
  const behind = (element) => {
    const chain = [];
    for (let at = element; at; at = at.parentElement) chain.unshift(at);
    let grounds = [parsed("Canvas").slice(0, 3)];
    for (const at of chain) {
      const style = getComputedStyle(at);
      const own = [style.backgroundColor, ...(style.backgroundImage.match(/(?:rgba?|color)\([^)]*\)/g) || [])];
      const layers = own.map(parsed).filter((colour) => colour[3] > 0);
      if (layers.length) grounds = layers.flatMap((layer) => grounds.map((g) => over(layer, g, layer[3])));
    }
    return grounds;
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    const text = walk.currentNode.data.trim();
    const box = element.getBoundingClientRect(); // what only readers hear is a pixel wide
    const seen = box.width > 1 && element.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true });
    if (!text || !seen || element.closest("[aria-hidden=true], style, title, desc")) continue;
    const style = getComputedStyle(element);
    const ink = parsed(element.closest("svg") ? style.fill : style.color);
    let alpha = ink[3];
    for (let at = element; at; at = at.parentElement) alpha *= Number(getComputedStyle(at).opacity);
    const ratios = behind(element).map((ground) => ratio(over(ink, ground, alpha), ground));
    found.push({ text: text.slice(0, 40), ratio: Math.min(...ratios), where: `${element.tagName}.${element.className.baseVal ?? element.className}` });
  }
  return found.sort((a, b) => a.ratio - b.ratio);
}
