// An iOS client: native envelopes to `POST /v1/events` of `session-pipeline receive`. Uses Foundation alone.
import Foundation

final class Client: @unchecked Sendable {
    typealias Event = [String: any Sendable]
    private let url: URL // https://collector.example.org/v1/events
    private let key: String? // of the app
    private let head: [String: any Sendable]
    private let onError: @Sendable (_ reason: String, _ count: Int) -> Void
    private let queue = DispatchQueue(label: "telemetry") // whatever is var below is touched on it alone
    private let timer: any DispatchSourceTimer
    private var waiting: [Data] = [] // events as JSON
    private var seq = 0
    private var sending = false
    private var pause = 1.0
    private var notBefore = Date.distantPast
    private var userId: String?

    /// `deviceId`: one for an installation; keep it in the keychain. `onError` is called on a queue of the client's own.
    init(url: URL, key: String?, appId: String, deviceId: String, resource: [String: String],
         onError: @escaping @Sendable (String, Int) -> Void) {
        self.url = url
        self.key = key
        self.onError = onError
        head = ["v": 1, "app_id": appId, "device_id": deviceId, "resource": resource]
        timer = DispatchSource.makeTimerSource(queue: queue)
        timer.schedule(deadline: .now() + 5, repeating: 5)
        timer.setEventHandler { [weak self] in self?.deliver() }
        timer.resume()
    }

    deinit { timer.cancel() }

    /// From any thread. Id and time are made here, once: whatever is sent again carries them again.
    func send(_ name: String, _ attributes: [String: any Sendable] = [:]) {
        let id = UUID().uuidString, time = Self.ms(Date())
        queue.async { self.add(["id": id, "name": name, "time": time, "attributes": attributes]) }
    }

    func identify(_ userId: String?) { queue.async { self.userId = userId } }

    // From UIApplication's notifications. What waits at the end belongs into a file, and is sent at the next start; ask for
    // `beginBackgroundTask` before `background`, or the request may not get out.
    func foreground() { send("device.app.lifecycle", ["ios.app.state": "foreground"]) }
    func background() {
        send("device.app.lifecycle", ["ios.app.state": "background"])
        flush()
    }

    /// What waits is sent now, and not at the end of the five seconds.
    func flush() { queue.async { self.deliver() } }

    private func add(_ event: Event) {
        guard waiting.count < 5_000 else { return onError("queue_full", 1) }
        var event = event
        seq += 1
        event["seq"] = seq
        // JSONSerialization does not throw for what it cannot write (NaN, Date): it ends the process.
        guard JSONSerialization.isValidJSONObject(event), let text = try? JSONSerialization.data(withJSONObject: event)
        else { return onError("not_json", 1) }
        waiting.append(text)
    }

    private func deliver() {
        guard !sending, !waiting.isEmpty, Date() >= notBefore else { return }
        let batch = take()
        var said = head
        said["sent_at"] = Self.ms(Date()) // of this attempt: by it a wrong clock is corrected
        if let userId { said["user"] = ["id": userId] }
        guard var body = try? JSONSerialization.data(withJSONObject: said) else { return onError("not_json", batch.count) }
        body.removeLast() // its brace
        body.append(contentsOf: #","events":["#.utf8)
        body.append(contentsOf: batch.joined(separator: ",".utf8))
        body.append(contentsOf: "]}".utf8)
        var request = URLRequest(url: url)
        request.httpMethod = "POST"
        request.httpBody = body
        request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        if let key { request.setValue("Bearer \(key)", forHTTPHeaderField: "Authorization") }
        sending = true
        URLSession.shared.dataTask(with: request) { data, answer, _ in
            self.queue.async { self.answered(batch, data ?? Data(), answer as? HTTPURLResponse) }
        }.resume()
    }

    private func answered(_ batch: [Data], _ data: Data, _ answer: HTTPURLResponse?) {
        sending = false
        // No network: it may have arrived, which the ids make harmless.
        guard let answer else { return again(batch, after: 0) }
        if answer.statusCode == 429 || answer.statusCode >= 500 {
            return again(batch, after: Double(answer.value(forHTTPHeaderField: "Retry-After") ?? "") ?? 0)
        }
        pause = 1
        let said = (try? JSONSerialization.jsonObject(with: data)) as? [String: Any] ?? [:]
        if let refused = said["refused"] as? [Any], !refused.isEmpty {
            onError("\(refused)", refused.count)
        } else if answer.statusCode >= 300 {
            onError(said["reason"] as? String ?? "HTTP \(answer.statusCode)", batch.count)
        }
    }

    private func take() -> [Data] {
        var bytes = 0, count = 0
        for event in waiting.prefix(500) {
            bytes += event.count + 1
            if count > 0 && bytes > 500_000 { break } // half of what a record may have
            count += 1
        }
        defer { waiting.removeFirst(count) }
        return Array(waiting.prefix(count))
    }

    private func again(_ batch: [Data], after seconds: Double) {
        waiting.insert(contentsOf: batch, at: 0)
        notBefore = Date(timeIntervalSinceNow: max(seconds, pause * Double.random(in: 0.5...1.5)))
        pause = min(pause * 2, 60)
    }

    private static func ms(_ date: Date) -> Int { Int(date.timeIntervalSince1970 * 1_000) }
}
