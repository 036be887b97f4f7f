import { render } from "preact";
import "../shared/theme.css";
import "./ops.css";
import { OpsPage } from "./ops-page.tsx";

render(<OpsPage />, document.getElementById("page")!);
