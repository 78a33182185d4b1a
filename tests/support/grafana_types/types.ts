// What Grafana publishes of its dashboards, as JSON has it: members of enumerations are plain words.

import type { AnnotationQuery, Dashboard as Whole, DataQuery } from "@grafana/schema";
import type { Options as Stat } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type {
  FieldConfig,
  Options as TimeSeries,
} from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

type Plain<T> = T extends string
  ? `${T}`
  : T extends (infer U)[]
    ? Plain<U>[]
    : T extends object
      ? { [K in keyof T]?: Plain<T[K]> }
      : T;

/** Of the data source, whose types are not published: a question in PromQL, and how an annotation is titled. */
type Annotation = AnnotationQuery<DataQuery & { expr: string }> & { titleFormat: string };
export type Dashboard = Omit<Plain<Whole>, "annotations"> & { annotations: { list: Plain<Annotation>[] } };
/** Options and fields of panels, which the type of a dashboard leaves open. */
export type Options = { stat: Plain<Stat>; timeseries: Plain<TimeSeries> };
export type Fields = { stat: Record<string, never>; timeseries: Plain<FieldConfig> };
