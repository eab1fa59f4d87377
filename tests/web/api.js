// Stands in for ComfyUI's scripts/api.js in tests/test_web.py.
export const api = new EventTarget();
api.fetchApi = async () => ({ ok: true, json: async () => api.recorded ?? [] }); // of nodes/osc.py
