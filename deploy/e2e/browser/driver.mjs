// Drives one page of headless Chromium by commands that come as lines of JSON on standard input:
// {"command": "open", "arguments": ["http://…"]}; each is answered by one line on standard output,
// {"value": …} or {"error": "…"}. The page's console goes to standard error. Ends with its input.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");

const [width, height] = process.argv.slice(2).map(Number);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
  ],
});
const context = await browser.newContext({ viewport: { width, height }, permissions: ["camera", "microphone"] });
const page = await context.newPage();
page.on("console", (message) => console.error(`[${message.type()}] ${message.text()} ${message.type() === "error" ? message.location().url : ""}`));
page.on("pageerror", (error) => console.error(`[uncaught] ${error.stack ?? error}`));

/** Runs in the page: what a watch page shows and plays. */
function readState() {
  const data = document.documentElement.dataset;
  const video = document.querySelector("video");
  return {
    transport: data.transport ?? "", state: data.state ?? "", format: data.format ?? "",
    delay: Number(data.delayMs ?? NaN) || 0, frames: Number(data.frames ?? 0),
    width: video?.videoWidth ?? 0, playing: video !== null && !video.paused && video.readyState >= 2,
    time: video?.currentTime ?? 0, audio: video?.webkitAudioDecodedByteCount ?? 0,
    text: document.body.innerText.slice(0, 2000),
  };
}

const commands = {
  open: (url) => page.goto(url, { waitUntil: "domcontentloaded" }).then(() => null),
  state: () => page.evaluate(readState),
  eval: (expression) => page.evaluate(expression).then((value) => value ?? null),
  click: (selector) => page.click(selector, { timeout: 10000 }).then(() => null),
  fill: (selector, text) => page.fill(selector, text, { timeout: 10000 }).then(() => null),
  look: async (colorScheme, width, height) => {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height });
  },
  press: (key) => page.keyboard.press(key).then(() => null),
  screenshot: (path) => page.screenshot({ path }).then(() => null),
};

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const { command, arguments: args } = JSON.parse(line);
    process.stdout.write(`${JSON.stringify({ value: (await commands[command](...args)) ?? null })}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ error: String(error) })}\n`);
  }
}
await browser.close();
