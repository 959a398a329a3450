/**
 * Canary customers: the control plane asks as customers do, under the public name and past everything that stands before
 * the routers. Their token is put there by operators, and read for each journey, so it may be renewed at any time.
 */
import { at } from './workload.ts';
import type { Settings } from './settings.ts';
import type { Mount } from './workload.ts';

const SECRET = 'canaries';

/** Between two journeys of a canary in all zones together. Each journey leaves blocks that are kept for ever. */
const PAUSE_MS = 2_000;

export const CANARIES_MOUNT: Mount = { name: SECRET, from: 'secret' };

/** Every control plane has a canary in each cell. */
export function canaries({ config: { aws }, place, privateAuthority }: Settings): string[] {
  return [
    `--canary-router=https://${aws.domain}:443`,
    `--canary-token=${at(SECRET, 'token')}`,
    ...(privateAuthority ? [`--canary-ca=${at(SECRET, 'ca.crt')}`] : []),
    `--canary-pause-ms=${PAUSE_MS * place.zones.length}`,
  ];
}
