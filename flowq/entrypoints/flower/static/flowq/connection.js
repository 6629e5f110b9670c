// Follows the stream of a page. A browser opens six connections to a host and no more, so its tabs
// share one, which `shared.js` has; where a browser has no shared workers, a tab that is not seen has
// none. Both call the same four functions of the page.
(() => {
  "use strict";
  function alone(url, page) {
    let source;
    const close = () => source?.close();
    function open() {
      close();
      source = new EventSource(url);
      source.onopen = page.open;
      source.onerror = () => (source.readyState === EventSource.CLOSED ? page.closed : page.lost)();
      source.onmessage = (message) => {
        if (!page.news(JSON.parse(message.data))) return;
        close();
        document.removeEventListener("visibilitychange", seen);
      };
    }
    function seen() {
      if (document.hidden) close();
      else open();
    }
    document.addEventListener("visibilitychange", seen);
    addEventListener("pagehide", close);
    if (!document.hidden) open();
  }

  function together(many, script, url, page) {
    const { port } = new SharedWorker(script, { name: "flowq" });
    const join = () => port.postMessage({ join: url, many });
    port.onmessage = ({ data }) => {
      if (data.ping) port.postMessage({ pong: true });
      else if (data.news) page.news(data.news);
      else page[data.state]?.();
    };
    join();
    addEventListener("pagehide", () => port.postMessage({ leave: true }));
    // A page that was frozen may have been taken for one that is gone.
    document.addEventListener("resume", join);
  }

  // Follow a page: its element names its stream, that of many pages, and the script of the worker.
  window.flowqFollow = ({ live, liveMany, liveShared }, page) => {
    if (window.SharedWorker && liveMany && liveShared) together(liveMany, liveShared, live, page);
    else alone(live, page);
  };
})();
