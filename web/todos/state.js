/** @type {Record<string, {label: string, title: string}>} */
const STATES = {
  connecting: { label: "Connecting…", title: "Asking the server for updates." },
  live: { label: "Live", title: "Changes made elsewhere appear here at once." },
  unconnected: { label: "No updates", title: "Changes made elsewhere do not arrive; asking for them again." },
  waiting: { label: "Reconnecting…", title: "The server can’t be reached; trying again in a moment." },
  offline: { label: "Offline", title: "No network. What you do is kept, and sent when it is back." },
  closed: { label: "Closed", title: "Updates have ended. Reload the page." },
};

/**
 * Show the connection's state in the page's indicator, in a word and a colour.
 *
 * @param {HTMLElement} indicator
 * @param {string} state
 */
export function describeState(indicator, state) {
  const { label, title } = STATES[state] ?? { label: state, title: "" };
  indicator.dataset.state = state;
  indicator.title = title;
  const text = indicator.querySelector("span");
  if (text) text.textContent = label;
}
