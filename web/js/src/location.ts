/** Where a model's files are. */

/** The addresses of a model's files, in a form that crosses to a worker. */
export interface Location {
  /**
   * What the model's record is kept under: its folder's address, or its package's name. Without a query, in which a secret
   * may be.
   */
  id: string;
  /** The folder's address, with a slash at its end before any query. */
  base?: string;
  /** Or each file's own. */
  urls?: Record<string, string>;
}

/** An address for messages and names: without query, fragment, user and password, in which secrets may be. */
export function shown(address: string): string {
  if (address.startsWith('data:')) return `${address.slice(0, 5)}…`;
  try {
    const { protocol, host, pathname } = new URL(address);
    return protocol === 'blob:' ? 'blob:…' : `${protocol}//${host}${pathname}`;
  } catch {
    return (address.split(/[?#]/, 1)[0] ?? '').replace(/\/\/[^/]*@/, '//');
  }
}

/** The address of one file, or `undefined` if the model has none of this name. A query, such as a token, is kept. */
export function urlOf(location: Location, name: string): string | undefined {
  if (location.urls) return Object.hasOwn(location.urls, name) ? location.urls[name] : undefined;
  const base = new URL(location.base ?? location.id);
  const url = new URL(name, base);
  url.search = base.search;
  return url.href;
}
