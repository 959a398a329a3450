/**
 * Words of which Kubernetes knows a few, while its schema takes any: one that it does not know would be refused, or
 * passed over, in the cluster only. It never judges whether a word is the right one.
 */
import { when } from './parsed.ts';

const ENUMS: Record<string, readonly string[]> = {
  protocol: ['TCP', 'UDP'],
  scheme: ['HTTPS', 'HTTP'],
  whenUnsatisfiable: ['DoNotSchedule'],
  nodeTaintsPolicy: ['Honor'],
  unhealthyPodEvictionPolicy: ['AlwaysAllow'],
  trafficDistribution: ['PreferClose'],
};

/** Words that the schema does not check. */
export function enums(value: unknown, where: string): string[] {
  if (Array.isArray(value)) return value.flatMap((one) => enums(one, where));
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, one]) => [
    ...when(
      ENUMS[name] !== undefined && typeof one === 'string' && !ENUMS[name].includes(one),
      `${where}: ${name} ${String(one)}`,
    ),
    ...enums(one, where),
  ]);
}
