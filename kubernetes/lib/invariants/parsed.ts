/** The parts of a parsed object that invariants of several subjects read. It never judges what it reads. */

// Objects as they were parsed: their shape was judged by the schema before.
export type Parsed = any;

export const named = (one: Parsed) => `${one.kind} ${one.metadata?.name}`;
export const matches = (selector: Record<string, string> | undefined, labels: Record<string, string>) =>
  Object.entries(selector ?? {}).every(([name, value]) => labels[name] === value);
export const podLabels = (one: Parsed) => one.spec.template.metadata.labels as Record<string, string>;
export const container = (one: Parsed) => one.spec.template.spec.containers[0];

/** By its label, which services and budgets select it by. */
export const roleOf = (one: Parsed): string => podLabels(one)['role'] ?? 'all';

export function flag(one: Parsed, name: string): string | undefined {
  const arg = (container(one).args as string[]).find((word) => word.startsWith(`--${name}=`));
  return arg?.slice(name.length + 3);
}

/** A finding, or none. */
export const when = (isWrong: boolean, what: string) => (isWrong ? [what] : []);
