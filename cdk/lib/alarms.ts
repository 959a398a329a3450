/**
 * What tells that something is unwell, in CloudWatch, and one alarm over all of it:
 * `<name>-unwell`, which pages. A deploy is watched with each of them. It must never count what
 * customers do wrong as something of ours.
 */
import { Duration } from 'aws-cdk-lib';
import {
  Alarm,
  AlarmRule,
  ComparisonOperator,
  CompositeAlarm,
  Metric,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch';
import type { IMetric } from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { Operation } from 'aws-cdk-lib/aws-dynamodb';
import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import { Construct } from 'constructs';
import { NAMESPACE } from './own-metrics.ts';
import type { Topics } from './topics.ts';

const MINUTE = Duration.minutes(1);
/** How late a minute's figures may be in CloudWatch. */
const LATE_MINUTES = 2;
/**
 * DynamoDB answers a single item in a few milliseconds; a quarter of what the processes give one
 * attempt.
 */
const SLOW_MS = 500;
/** DynamoDB usually copies an item within a second or two. */
const COPIED_LATE_MS = 30_000;
const USED = [
  Operation.GET_ITEM,
  Operation.QUERY,
  Operation.PUT_ITEM,
  Operation.DELETE_ITEM,
  Operation.BATCH_GET_ITEM,
  Operation.TRANSACT_WRITE_ITEMS,
];

export interface Limit {
  readonly above?: number;
  readonly below?: number;
  readonly minutes: number;
  readonly why: string;
  /**
   * What it means that there are no figures: that all is well, if only what is unwell is counted;
   * that it is unwell, for what is there as long as anything is; or that it is not known, which a
   * deploy does not pass.
   */
  readonly silence?: 'well' | 'unwell' | 'unknown';
}

const MISSING = {
  well: TreatMissingData.NOT_BREACHING,
  unwell: TreatMissingData.BREACHING,
  unknown: TreatMissingData.MISSING,
};

/** What a deploy is watched with (scripts/bake). */
export interface Watched {
  /** How the names of the stack's alarms begin. */
  readonly prefix: string;
  /** After which each of them speaks of what runs now. */
  readonly settleSeconds: number;
}

export class Alarms extends Construct {
  private readonly all: Alarm[] = [];
  private longestMinutes = 0;

  constructor(
    scope: Construct,
    id: string,
    private readonly prefix: string,
    private readonly topics: Topics,
  ) {
    super(scope, id);
  }

  add(name: string, metric: IMetric, limit: Limit): void {
    const isAbove = limit.above !== undefined;
    this.longestMinutes = Math.max(this.longestMinutes, limit.minutes);
    this.all.push(
      new Alarm(this, name, {
        alarmName: `${this.prefix}-${name}`,
        alarmDescription: limit.why,
        metric,
        threshold: limit.above ?? limit.below ?? 0,
        comparisonOperator: isAbove
          ? ComparisonOperator.GREATER_THAN_THRESHOLD
          : ComparisonOperator.LESS_THAN_THRESHOLD,
        evaluationPeriods: limit.minutes,
        datapointsToAlarm: limit.minutes,
        treatMissingData: MISSING[limit.silence ?? 'well'],
      }),
    );
  }

  /** A metric of the processes themselves, as the collector beside them writes it. */
  own(name: string, metricName: string, dimensionsMap: Record<string, string>, statistic: string, limit: Limit): void {
    this.add(name, new Metric({ namespace: NAMESPACE, metricName, dimensionsMap, statistic, period: MINUTE }), limit);
  }

  tables({ tables }: { readonly tables: ReadonlyMap<string, ITable> }): void {
    for (const [name, table] of tables) this.table(name, table);
  }

  private table(name: string, table: ITable): void {
    const dimensionsMap = { TableName: table.tableName };
    for (const [kind, metricName] of [
      ['reads', 'ReadThrottleEvents'],
      ['writes', 'WriteThrottleEvents'],
    ] as const) {
      const metric = new Metric({
        namespace: 'AWS/DynamoDB',
        metricName,
        dimensionsMap,
        statistic: 'Sum',
        period: MINUTE,
      });
      this.add(`${name}-throttled-${kind}`, metric, {
        above: 0,
        minutes: 3,
        why: `DynamoDB refuses ${kind} of ${name} for their rate: a hot partition, or a quota`,
      });
    }
    const errors = table.metricSystemErrorsForOperations({ operations: USED, period: MINUTE, statistic: 'Sum' });
    this.add(`${name}-system-errors`, errors, {
      above: 0,
      minutes: 3,
      why: `DynamoDB fails at ${name}: look at AWS's health`,
    });
    for (const operation of [Operation.QUERY, Operation.PUT_ITEM]) {
      const latency = table.metricSuccessfulRequestLatency({
        dimensionsMap: { ...dimensionsMap, Operation: operation },
        statistic: 'p99',
        period: MINUTE,
      });
      this.add(`${name}-slow-${operation}`, latency, {
        above: SLOW_MS,
        minutes: 5,
        why: `${operation} of ${name}: p99 above ${SLOW_MS} ms for five minutes`,
      });
    }
  }

  /** How far the copies in another Region are behind. Where nothing is written, nothing is behind. */
  copies({ tables }: { readonly tables: ReadonlyMap<string, ITable> }, region: string): void {
    for (const [name, { tableName }] of tables) {
      const metric = new Metric({
        namespace: 'AWS/DynamoDB',
        metricName: 'ReplicationLatency',
        dimensionsMap: { TableName: tableName, ReceivingRegion: region },
        statistic: 'Average',
        period: MINUTE,
      });
      this.add(`${name}-copied-late`, metric, {
        above: COPIED_LATE_MS,
        minutes: 5,
        why: `${region} gets what is written to ${name} more than ${COPIED_LATE_MS / 1_000} s later`,
      });
    }
  }

  /** All of them as one; call it last. */
  unwell(): Watched {
    const compositeAlarmName = `${this.prefix}-unwell`;
    const whole = new CompositeAlarm(this, 'Unwell', {
      compositeAlarmName,
      alarmDescription: 'Something that this stack watches is unwell: see which of its alarms. docs/runbook.md',
      alarmRule: AlarmRule.anyOf(...this.all),
    });
    whole.addAlarmAction(new SnsAction(this.topics.pagedBy('cloudwatch.amazonaws.com')));
    return { prefix: `${this.prefix}-`, settleSeconds: (this.longestMinutes + LATE_MINUTES) * 60 };
  }
}
