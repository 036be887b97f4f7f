/**
 * A signal that aborts when one of two does, with its reason: `AbortSignal.any`, which browsers from before 2024 lack.
 */
export function either(a: AbortSignal, b: AbortSignal): AbortSignal {
  const joined = new AbortController();
  const end = (signal: AbortSignal) => {
    if (signal.aborted) joined.abort(signal.reason);
    else signal.addEventListener("abort", () => joined.abort(signal.reason), { once: true, signal: joined.signal });
  };
  end(a);
  end(b);
  return joined.signal;
}
