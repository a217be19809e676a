// A page in TypeScript that uses the packed library: it compiles, strictly, or the types are wrong.

import { Firenze, Followed, Messages } from "pomona";
import { Firenze as Core } from "pomona/core";
import { Followed as FollowedAlone } from "pomona/follow";
import { Messages as MessagesAlone } from "pomona/messages";
import { Firenze as Minified } from "pomona/min";
import { Firenze as MinifiedCore } from "pomona/core.min";

interface Task {
  guid: string;
  version: number;
  description: string;
}

const firenze = new Firenze({
  connectUrl: "/tasks/connect/%@",
  token: async ({ refused }) => (refused === null ? "T1" : "T2"),
  headers: { "X-Team": "7" },
  credentials: "include",
  shared: "ann",
});

const unsubscribe: () => void = firenze.subscribe("tasks", (message: string, path: string) => console.log(path, message), {
  signal: AbortSignal.timeout(1_000),
  onConfirmed: (path) => console.log(path),
});
unsubscribe();

const tasks: Followed<Task> = firenze.follow<Task>("tasks", {
  snapshot: ({ signal }) => fetch("/tasks", { signal }),
  fetchNext: (url, { signal }) => fetch(url, { signal, credentials: "include" }),
  key: "guid",
  version: ({ version }) => version,
});
tasks.addEventListener("change", ({ detail }) => {
  for (const { kind, item, previous } of detail.changes) console.log(kind, item.description, previous?.version);
});
for (const task of tasks.items.values()) console.log(task.description);

firenze.addEventListener("state", ({ detail }) => console.log(detail.state, detail.previous));
firenze.addEventListener("unconnected", ({ detail }) => console.log(detail.path, detail.reason, tasks.isCut));
firenze.addEventListener("poll", ({ detail }) => console.log(detail.endedAt - detail.startedAt, detail.by));
firenze.addEventListener("gap", ({ detail }) => console.log(detail.path, detail.reason));

export async function listen(): Promise<void> {
  for await (const { path, message } of firenze.messages("tasks", { limit: 10 })) console.log(path, message);
}

// @ts-expect-error: a member that a task has not.
firenze.follow<Task>("tasks", { snapshot: () => [], key: "id", version: "version" });
// @ts-expect-error: an event that there is not.
firenze.addEventListener("message", () => {});

const core: Core = new MinifiedCore();
new FollowedAlone<Task>(core, "tasks", { snapshot: () => [], key: "guid", version: "version" });
new MessagesAlone(core, "tasks");
new Minified() satisfies Firenze;
export type All = Messages;
