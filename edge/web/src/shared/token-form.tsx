import { useState } from "preact/hooks";
import { presentToken } from "./token.ts";

/** Asks for a bearer token. It goes into the page's fragment, which no server sees. */
export function TokenForm() {
  const [token, setToken] = useState("");
  return (
    <form
      class="token-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (token.trim() !== "") presentToken(token.trim());
      }}
    >
      <label class="field">
        <span class="hidden-visually">Token</span>
        <input
          type="password"
          autocomplete="off"
          placeholder="Paste the token you were given"
          value={token}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
      </label>
      <button class="button" type="submit">
        Continue
      </button>
    </form>
  );
}
