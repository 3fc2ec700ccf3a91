/**
 * Makes elements. Everything that comes from outside becomes a text node or an attribute's value,
 * never markup: nothing in the board parses HTML. Characters that would be seen as nothing, or would
 * change the order of others, are shown as signs, so that no name looks like another one.
 */

const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]/g;

/** A text as it is shown: controls but tab and line feed, and marks of direction, as signs. */
export function visible(text) {
  return String(text).replace(UNSEEN, (sign) => {
    const code = sign.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? "\u2421" : `[U+${code.toString(16).toUpperCase().padStart(4, "0")}]`;
  });
}

const SVG = "http://www.w3.org/2000/svg";
/** Attributes that are texts for people. */
const TOLD = new Set(["title", "aria-label", "aria-valuetext"]);
const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "indeterminate", "tabIndex"]);

/**
 * Makes an HTML element. An attribute that is a function is a listener (`onclick`); `true` sets an
 * attribute without a value; `false`, `null` and `undefined` leave it out; `vars` sets custom
 * properties of CSS. Children are nodes, texts, numbers, or arrays of them; `null` and `false` are
 * left out.
 */
export function el(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

/** Makes an SVG element; see `el`. */
export function svg(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) set(node, name, value);
  append(node, children);
  return node;
}

/** Sets an attribute, a property or a listener, as `el` does. It writes nothing that is so already. */
export function set(node, name, value) {
  if (typeof value === "function") {
    node.addEventListener(name.replace(/^on/, ""), value);
  } else if (name === "vars") {
    for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
  } else if (PROPERTIES.has(name) && name in node && node.localName !== "option") {
    if (node[name] !== value) node[name] = value;
  } else if (value === false || value === null || value === undefined) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else {
    const text = value === true ? "" : TOLD.has(name) ? visible(value) : String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
}

function append(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(node, child);
    else if (child instanceof Node) node.append(child);
    else if (child !== null && child !== undefined && child !== false) node.append(visible(child));
  }
}

/** Sets the text of a node, if it differs: a text that is set anew costs a layout. */
export function setText(node, text) {
  const wanted = text === null || text === undefined ? "" : visible(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Replaces all children of a node. */
export function fill(node, ...children) {
  node.replaceChildren();
  append(node, children);
  return node;
}

/**
 * Makes a link to what a job names, which opens beside the board. Only http and https become links;
 * any other text, `javascript:` too, stays a text.
 */
export function outside(url, text = url) {
  return isWeb(url)
    ? el("a", { href: url, target: "_blank", rel: "noopener noreferrer", title: url }, text)
    : el("span", { title: url }, text);
}

function isWeb(url) {
  try {
    return ["http:", "https:"].includes(new URL(url).protocol);
  } catch {
    return false;
  }
}
