import { render } from "preact";
import "../shared/theme.css";
import "./publish.css";
import { nameInPath } from "../shared/names.ts";
import { PublishPage } from "./publish-page.tsx";

const stream = nameInPath(location.pathname, "/publish/") ?? "";
document.title = stream === "" ? "Publish · Banyan" : `Publish ${stream} · Banyan`;
render(<PublishPage stream={stream} />, document.getElementById("page")!);
