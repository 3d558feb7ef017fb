// A browser client: native envelopes to `POST /v1/events` of `session-pipeline receive`. Uses nothing but the platform.
type Attributes = Record<string, unknown>
interface Event_ { id: string; name: string; time: number; seq: number; attributes?: Attributes }
interface Refused { index?: number; path?: string; reason: string; detail?: string }

export interface Options {
  url: string // https://collector.example.org/v1/events
  key?: string // of the app; none is needed on loopback
  appId: string
  deviceId: string // one for an installation: keep it in localStorage
  resource?: Record<string, string>
  onError?: (reason: string, events: Event_[]) => void // 'unreachable' has no events: they wait
}

const MAX_EVENTS = 500 // of an envelope
const MAX_BYTES = 500_000 // half of what a record may have
const MAX_WAITING = 5_000 // of this client; beyond, the newest are dropped and told
const BEACON_BYTES = 60_000 // what a page that goes away may still send
const UNREACHABLE_AFTER = 3 // attempts one after the other without any answer

// crypto.randomUUID is there on https and localhost alone.
function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

export class Client {
  private waiting: Event_[] = []
  private seq = 0
  private sending = false
  private pauseMs = 1_000
  private unanswered = 0
  user?: { id: string }

  constructor(private readonly options: Options) {
    setInterval(() => void this.flush(), 5_000)
    document.addEventListener('visibilitychange', () => {
      this.send('device.app.lifecycle', { 'browser.page.visibility': document.visibilityState })
      if (document.visibilityState === 'hidden') void this.flush(true)
    })
    this.send('app.launch', { 'app.launch.type': 'cold' })
    this.send('device.app.lifecycle', { 'browser.page.visibility': document.visibilityState })
  }

  // The id is made here, once: whatever is sent again carries it again.
  send(name: string, attributes?: Attributes): void {
    const event = { id: newId(), name, time: Date.now(), seq: ++this.seq, attributes }
    if (this.waiting.length >= MAX_WAITING) this.options.onError?.('queue_full', [event])
    else this.waiting.push(event)
  }

  async flush(leaving = false): Promise<void> {
    // A page that goes away does not wait for the answer to another request: there may be no later.
    if ((this.sending && !leaving) || !this.waiting.length) return
    this.sending = true
    const batch = this.take(leaving ? BEACON_BYTES : MAX_BYTES)
    try {
      // sent_at is of this attempt: by it a clock that is wrong is known and corrected.
      const body = JSON.stringify({
        v: 1, app_id: this.options.appId, device_id: this.options.deviceId, sent_at: Date.now(),
        resource: this.options.resource, user: this.user, events: batch,
      })
      const headers: Record<string, string> = { 'Content-Type': 'application/json' }
      if (this.options.key) headers.Authorization = `Bearer ${this.options.key}`
      const answer = await fetch(this.options.url, { method: 'POST', headers, body, keepalive: leaving })
      this.unanswered = 0
      if (answer.status === 408 || answer.status === 429 || answer.status >= 500) { // else: not again
        this.again(batch, Number(answer.headers.get('Retry-After') ?? 0) * 1_000)
        return
      }
      this.pauseMs = 1_000
      if (answer.status === 413) return this.options.onError?.('too_large', batch)
      const said: { refused?: Refused[]; reason?: string; detail?: string } = await answer.json().catch(() => ({}))
      for (const each of said.refused ?? [])
        this.options.onError?.(`${each.reason}: ${each.detail ?? each.path ?? ''}`, batch)
      if (!answer.ok && !said.refused)
        this.options.onError?.(said.reason ? `${said.reason}: ${said.detail ?? ''}` : `HTTP ${answer.status}`, batch)
    } catch {
      this.again(batch, 0) // no network: it may have arrived, which the ids make harmless
      // Or a wrong url, or TLS, or a proxy that does not let this page's origin in: told once, and nothing is dropped.
      if (++this.unanswered === UNREACHABLE_AFTER) this.options.onError?.('unreachable', [])
    } finally {
      this.sending = false
    }
  }

  private take(maxBytes: number): Event_[] {
    let bytes = 0
    let count = 0
    for (const event of this.waiting) {
      bytes += new TextEncoder().encode(JSON.stringify(event)).length + 1
      if (count && (bytes > maxBytes || count === MAX_EVENTS)) break
      count += 1
    }
    return this.waiting.splice(0, count)
  }

  private again(batch: Event_[], afterMs: number): void {
    this.waiting.unshift(...batch)
    const waitMs = Math.max(afterMs, this.pauseMs * (0.5 + Math.random()))
    this.pauseMs = Math.min(this.pauseMs * 2, 60_000)
    setTimeout(() => void this.flush(), waitMs)
  }
}
