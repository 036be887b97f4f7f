import { render } from "preact";
import "../shared/theme.css";
import "./watch.css";
import { nameInPath } from "../shared/names.ts";
import { WatchPage } from "./watch-page.tsx";

const stream = nameInPath(location.pathname, "/watch/");
if (stream === null) {
  // The server answers bad names with 404; this is the development server, or a proxy's doing.
  location.replace("/");
} else {
  document.title = `${stream} · Banyan`;
  render(<WatchPage stream={stream} />, document.getElementById("page")!);
}
