import { render } from "preact";
import "../shared/theme.css";
import "./landing.css";
import { Landing } from "./landing.tsx";

render(<Landing />, document.getElementById("page")!);
