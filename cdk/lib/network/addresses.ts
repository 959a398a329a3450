/**
 * Addresses that a network and what runs in it have to agree on. Networks meet through PrivateLink: all have the same.
 */

export const VPC_CIDR = '10.0.0.0/16';

/** Inside a cluster. */
export const SERVICE_CIDR = '172.20.0.0/16';
/** Its DNS: by convention of EKS the tenth address of the range. */
export const DNS_ADDRESS = '172.20.0.10/32';
