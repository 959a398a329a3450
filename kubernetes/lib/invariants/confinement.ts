/**
 * What a pod of any kind may do on its node and in its cluster: nothing that it does not need. It never makes an
 * exception for a component by its name.
 */
import { named, when } from './parsed.ts';
import type { Parsed } from './parsed.ts';

export function rights(one: Parsed): string[] {
  const pod = one.spec.template.spec;
  return [
    ...when(
      pod.securityContext?.runAsNonRoot !== true || !(pod.securityContext.runAsUser > 0),
      `${named(one)}: may be root`,
    ),
    ...when(pod.securityContext?.seccompProfile?.type !== 'RuntimeDefault', `${named(one)}: without seccomp`),
    ...when(pod.automountServiceAccountToken !== false, `${named(one)}: is given a token of the cluster`),
    ...(pod.containers as Parsed[]).flatMap(({ securityContext: own, resources, image }) => [
      ...when(own?.readOnlyRootFilesystem !== true, `${named(one)}: may write to its image`),
      ...when(own?.allowPrivilegeEscalation !== false, `${named(one)}: may gain rights`),
      ...when(JSON.stringify(own?.capabilities) !== '{"drop":["ALL"]}', `${named(one)}: keeps capabilities`),
      ...when(
        resources?.limits?.memory === undefined || resources.requests?.cpu === undefined,
        `${named(one)}: without bounds`,
      ),
      ...when(!/@sha256:[0-9a-f]{64}$/.test(image), `${named(one)}: image without a digest`),
    ]),
  ];
}

/** Only what carries logs sees a folder of its node, and only to read what containers log. */
export function ofNode(one: Parsed): string[] {
  const { containers, hostNetwork, hostPID, hostIPC, securityContext, volumes = [] } = one.spec.template.spec;
  const seen = (volumes as Parsed[]).filter(({ hostPath }) => hostPath !== undefined);
  const mounts = (containers as Parsed[]).flatMap(({ volumeMounts = [] }) => volumeMounts as Parsed[]);
  const reads = seen.every(
    ({ name, hostPath }) =>
      hostPath.path === '/var/log/pods' && mounts.every((each) => each.name !== name || each.readOnly === true),
  );
  return [
    ...when(seen.length > 0 && one.kind !== 'DaemonSet', `${named(one)}: sees a folder of its node`),
    ...when(!reads, `${named(one)}: may do more on its node than read what containers log`),
    ...when(Boolean(hostNetwork || hostPID || hostIPC), `${named(one)}: is not apart from its node`),
    ...when(seen.length === 0 && securityContext?.runAsGroup === 0, `${named(one)}: is of root's group`),
  ];
}
