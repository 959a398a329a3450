/**
 * Says, through the topic of pages, that a cell costs more than it should. Its account has
 * nothing else.
 */
import { CfnBudget } from 'aws-cdk-lib/aws-budgets';
import type { Construct } from 'constructs';
import type { Topics } from './topics.ts';

export function budget(scope: Construct, budgetName: string, usd: number, topics: Topics): void {
  const { topicArn } = topics.pagedBy('budgets.amazonaws.com');
  const when = (notificationType: 'ACTUAL' | 'FORECASTED', threshold: number) => ({
    notification: { notificationType, threshold, thresholdType: 'PERCENTAGE', comparisonOperator: 'GREATER_THAN' },
    subscribers: [{ subscriptionType: 'SNS', address: topicArn }],
  });
  new CfnBudget(scope, 'Budget', {
    budget: { budgetName, budgetType: 'COST', timeUnit: 'MONTHLY', budgetLimit: { amount: usd, unit: 'USD' } },
    notificationsWithSubscribers: [when('ACTUAL', 80), when('FORECASTED', 100)],
  });
}
