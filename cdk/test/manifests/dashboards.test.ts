import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { written } from '../../../kubernetes/lib/stacks.ts';
import { parseAllDocuments } from '../../lib/yaml.ts';
import { settings } from './copies.ts';
import type { Parsed } from './copies.ts';

it('Grafana shows every dashboard of ops/grafana, from the Prometheus of its own pod', () => {
  for (const stack of ['cell-1', 'router', 'control-plane']) {
    const all = parseAllDocuments(written(settings).get(`${stack}/monitoring.yaml`)!).map((one) => one.toJS());
    const data = (name: string) =>
      all.find((one) => one.kind === 'ConfigMap' && one.metadata.name === name).data as Record<string, string>;
    const ops = new URL('../../../ops/grafana/dashboards/', import.meta.url);
    expect(Object.keys(data('dashboards'))).toEqual(readdirSync(ops).sort());
    const [source] = parseAllDocuments(data('grafana')['datasources.yml']!)[0]!.toJS().datasources;
    for (const [name, text] of Object.entries(data('dashboards'))) {
      const uids = [...text.matchAll(/"datasource":\s*{[^}]*"uid":\s*"([^"]+)"/g)].map(([, uid]) => uid);
      expect(new Set(uids), name).toEqual(new Set([source.uid]));
    }
    const { containers } = all.find((one) => one.kind === 'Deployment' && one.metadata.name === 'monitoring').spec
      .template.spec;
    const env = Object.fromEntries(
      containers.find((one: Parsed) => one.name === 'grafana').env.map((one: Parsed) => [one.name, one.value]),
    );
    expect(source.url).toBe('$WALLET_PROMETHEUS_URL');
    expect(env.WALLET_PROMETHEUS_URL).toBe('http://127.0.0.1:9090');
  }
});
