/**
 * The processes' own metrics that alarms are about, which the collector beside them carries to CloudWatch. Of those
 * that count answers only 5xx are carried. test/stacks.test.ts holds the alarms against this.
 */

/** Of CloudWatch. */
export const NAMESPACE = 'Wallet';

export const OWN_METRICS = {
  cell: {
    answers: 'cell_requests_total',
    others: [
      'cell_build_info',
      'cell_transfers_stuck',
      'cell_transfer_in_flight_oldest_seconds',
      'cell_integrity_pass_breaks',
      'cell_shed_total',
    ],
  },
  router: {
    answers: 'router_requests_total',
    others: ['router_placement_refused_total', 'router_control_plane_silence_seconds'],
  },
  'control-plane': { answers: 'control_plane_requests_total', others: ['control_plane_checkpoint_violations_total'] },
} as const;

export type Component = keyof typeof OWN_METRICS;
