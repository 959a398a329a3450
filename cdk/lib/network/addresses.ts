/**
 * Addresses that a network and what runs in it have to agree on. Networks meet through PrivateLink: all have the same.
 */

export const VPC_CIDR = '10.0.0.0/16';

/** Of the control plane's network: behind all that its subnets take, in any number of zones. */
export const BASTION_CIDR = '10.0.255.0/28';

/** Inside a cluster. */
export const SERVICE_CIDR = '172.20.0.0/16';
/** The control plane's service in its cluster: in the part of the range that is kept for addresses given by hand. */
export const CONTROL_PLANE_ADDRESS = '172.20.0.83';
/** Its DNS: by convention of EKS the tenth address of the range. */
export const DNS_ADDRESS = '172.20.0.10/32';
