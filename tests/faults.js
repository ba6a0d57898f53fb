// What a reader would stumble over in this page, as a list of sentences.
() => {
  const faults = [];
  const wide = document.documentElement.scrollWidth - window.innerWidth;
  if (wide > 0) faults.push(`the page is ${wide} px wider than the screen`);
  for (const image of document.images) {
    if (!image.alt) faults.push(`no words for ${image.src.slice(0, 60)}`);
    if (!image.naturalWidth) faults.push(`not loaded: ${image.src.slice(0, 60)}`);
  }
  const numbers = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return colour.startsWith("rgb") ? [r, g, b, a] : null;
  };
  const brightness = ([r, g, b]) => {
    const linear = [r, g, b].map((x) => {
      const share = x / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour && colour[3] > 0.99) return colour;
    }
    return [255, 255, 255, 1];
  };
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const told = new Set();
  while (words.nextNode()) {
    const text = words.currentNode.textContent.trim();
    const element = words.currentNode.parentElement;
    if (!text || !element.checkVisibility() || element.closest("script, style, nav, math, .md-skip"))
      continue;
    const style = getComputedStyle(element);
    const ink = numbers(style.color);
    if (!ink) continue;
    if (parseFloat(style.fontSize) < 11.5) faults.push(`${style.fontSize}: ${text.slice(0, 40)}`);
    if (ink[3] < 0.99) continue; // half transparent marks beside words, such as anchors
    const [low, high] = [brightness(ink), brightness(behind(element))].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    const what = `${style.color} on ${behind(element)}`;
    if (contrast < 4.5 && !told.has(what)) {
      told.add(what);
      faults.push(`contrast ${contrast.toFixed(1)} (${what}): ${text.slice(0, 40)}`);
    }
  }
  return faults;
}
