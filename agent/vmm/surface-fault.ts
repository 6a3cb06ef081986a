/**
 * Runs a listener; its own fault must not cost the lines behind it, so it is thrown where the process sees it, as
 * an uncaught exception, once the caller is done.
 */
export function surfaceFault(listener: () => void): void {
  try {
    listener();
  } catch (fault) {
    queueMicrotask(() => {
      throw fault;
    });
  }
}
