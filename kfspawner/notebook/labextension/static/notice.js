// A plugin of JupyterLab, by hand: it shows what the server is told to show, and tells
// the server that somebody is there. JupyterLab loads what `_JUPYTERLAB` holds, as it
// loads what its own tools build; the plugin uses nothing but the application's commands.
(() => {
  'use strict';
  const LOOK = 5000; // milliseconds between two looks
  const TELL = 30000; // and between two words that somebody is there
  const TOUCHES = ['keydown', 'pointerdown', 'wheel'];

  function xsrf() {
    const found = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/);
    return found ? decodeURIComponent(found[1]) : '';
  }

  async function ask(settings, method) {
    const headers = { 'X-XSRFToken': xsrf() };
    if (settings.token) {
      headers.Authorization = `token ${settings.token}`;
    }
    const url = `${settings.baseUrl}kfspawner/notice`;
    const answer = await fetch(url, { method, headers, credentials: 'same-origin', cache: 'no-store' });
    if (!answer.ok) {
      throw new Error(`${answer.status}`);
    }
    return (await answer.json()).text;
  }

  function activate(app) {
    const settings = app.serviceManager.serverSettings;
    let id = '';
    let shown = '';
    let told = -TELL;

    async function show(text) {
      if (text === shown) {
        return;
      }
      shown = text;
      const notice = { message: text, type: 'warning' };
      if (!text) {
        await app.commands.execute('apputils:dismiss-notification', { id });
      } else if (!(id && (await app.commands.execute('apputils:update-notification', { id, ...notice })))) {
        id = await app.commands.execute('apputils:notify', { ...notice, options: { autoClose: false } });
      }
    }

    async function look(method) {
      try {
        await show(await ask(settings, method));
      } catch {
        // The server is away; JupyterLab says that itself.
      }
    }

    function touched() {
      if (shown || performance.now() - told > TELL) {
        told = performance.now();
        void look('POST');
      }
    }

    for (const name of TOUCHES) {
      document.addEventListener(name, touched, { capture: true, passive: true });
    }
    void app.restored.then(() => {
      touched();
      setInterval(() => void look('GET'), LOOK);
    });
  }

  const plugin = {
    id: 'kfspawner:notice',
    description: 'Shows what the hub has to say of this server.',
    autoStart: true,
    activate,
  };
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB.kfspawner = {
    init: () => undefined,
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
