// Figures of two npm packages as JSON lines {"style", "source"}: node figures.mjs NODE_MODULES COUNT.
// Their colors are placeholders that avatars.py fills: #a10001 hair, #a20001 skin, #a30001 shirt, #a40001 lips,
// #a50001 hat and second cloth; with 2 at the end: the shade of it.
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const folder = resolve(process.argv[2]);
const count = Number(process.argv[3]);
const require = createRequire(`${folder}/`);

let state = 1; // the same figures every time
Math.random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const pick = (choices) => choices[Math.floor(Math.random() * choices.length)];
const placeholder = (slot) => ({ base: `#a${slot}0001`, shadow: `#a${slot}0002` });
const write = (style, source) => {
  const named = source.includes("xmlns=") ? source : source.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ');
  console.log(JSON.stringify({ style, source: named }));
};

const { createElement } = require("react");
const { renderToStaticMarkup } = require("react-dom/server");
const { BigHead, theme } = require("@bigheads/core");
Object.assign(theme.colors.hair.blonde, placeholder(1));
Object.assign(theme.colors.skin.light, placeholder(2));
Object.assign(theme.colors.clothing.blue, placeholder(3));
Object.assign(theme.colors.lipColors.red, placeholder(4));
Object.assign(theme.colors.clothing.red, placeholder(5));
for (let i = 0; i < count; i++) {
  const parts = {
    hair: pick(["long", "long", "bun", "short", "pixie", "balding", "buzz", "afro", "bob"]),
    clothing: pick(["shirt", "dressShirt", "vneck", "tankTop", "dress"]),
    body: pick(["chest", "breasts"]),
    eyes: pick(["normal", "leftTwitch", "happy", "content", "squint", "simple", "dizzy", "wink", "heart"]),
    eyebrows: pick(["raised", "leftLowered", "serious", "angry", "concerned"]),
    mouth: pick(["grin", "sad", "openSmile", "lips", "lips", "open", "serious", "tongue"]),
    facialHair: pick(["none", "none", "none", "stubble", "mediumBeard"]),
    accessory: pick(["none", "none", "roundGlasses", "tinyGlasses", "shades"]),
    hat: pick(["none", "none", "none", "beanie", "turban"]),
    lashes: pick([true, false]),
  };
  const colors = { hairColor: "blonde", skinTone: "light", clothingColor: "blue", lipColor: "red", hatColor: "red" };
  const plain = { graphic: "none", mask: false, faceMask: false };
  write("bigheads", renderToStaticMarkup(createElement(BigHead, { ...parts, ...colors, ...plain })));
}

const { generate, faceToSvgString } = await import(pathToFileURL(`${folder}/facesjs/build/index.js`));
for (let i = 0; i < count; i++) {
  const team = ["#a30001", "#a50001", "#a30002"];
  const colors = { hair: { color: "#a10001" }, body: { color: "#a20001" }, teamColors: team };
  write("facesjs", faceToSvgString(generate(colors, { gender: pick(["female", "male"]) })));
}
