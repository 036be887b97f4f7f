import { useState } from "preact/hooks";

/** Asks for a bearer token. It goes into the page's fragment, which no server sees. */
export function TokenForm({ onToken }: { onToken(token: string): void }) {
  const [token, setToken] = useState("");
  return (
    <form
      class="token-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (token.trim() !== "") onToken(token.trim());
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
