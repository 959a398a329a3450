/**
 * The control plane in each Region, for scripts/take-over, a line each: `REGION CLUSTER OPERATORS
 * ROLE FENCE`. OPERATORS is what operators become in its cluster, ROLE its own role, FENCE what they
 * become to take that role's rights.
 */
import { clusterName, controlPlaneRole, fenceRole, operatorsRole, roleArn } from '../lib/names.ts';
import { places, stackOf } from '../lib/places.ts';
import { deployment } from '../lib/settings.ts';

const { config } = deployment();
const account = config.aws.control_plane_account;
for (const place of places(config)) {
  const stack = stackOf('control-plane', place);
  const operators = roleArn(account, operatorsRole(config, stack));
  const role = controlPlaneRole(config, stack);
  const fence = roleArn(account, fenceRole(config));
  console.log([place.region, clusterName(config, stack), operators, role, fence].join(' '));
}
