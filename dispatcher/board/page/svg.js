/** SVG elements, as `dom.js` makes those of HTML: attributes and text nodes only. */

const NAMESPACE = "http://www.w3.org/2000/svg";

/** Make an element of SVG. An attribute that is null or undefined is left out. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** A coordinate with at most two decimals, so that attributes stay short. */
export const px = (value) => Math.round(value * 100) / 100;
