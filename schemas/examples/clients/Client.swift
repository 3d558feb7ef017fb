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
    private var kept: [Data: URL] = [:] // of those that wait, the ones that stand in a file
    nonisolated(unsafe) private static var crashes: URL? // set once, before anything may crash
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

    /// Once, before the first `send`. A crash leaves no time to send anything: it is written to a file of `folder`
    /// before the process dies, and sent at the next start, under one id until it is answered. (What waits could be
    /// kept likewise.) This sees exceptions of Objective-C. A trap of Swift is a signal, in whose handler none of this
    /// may run: take those from a crash reporter such as KSCrash, or from MetricKit (`MXCrashDiagnostic`), at the next
    /// start, and send them as `app.crash` with the time of the crash.
    func keepCrashes(in folder: URL) {
        try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        queue.async {
            let files = try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            for file in files ?? [] where file.pathExtension == "json" {
                guard let event = try? Data(contentsOf: file) else { continue }
                self.kept[event] = file
                self.waiting.insert(event, at: 0)
            }
        }
        Self.crashes = folder
        NSSetUncaughtExceptionHandler { exception in // a C function: it may use nothing but what is static
            let id = UUID().uuidString
            let attributes = [
                "exception.type": exception.name.rawValue, "exception.message": exception.reason ?? "",
                "exception.stacktrace": exception.callStackSymbols.joined(separator: "\n"),
            ]
            let event: [String: Any] = [
                "id": id, "name": "app.crash", "time": Client.ms(Date()), "attributes": attributes,
            ]
            guard let folder = Client.crashes, let text = try? JSONSerialization.data(withJSONObject: event)
            else { return }
            try? text.write(to: folder.appendingPathComponent("\(id).json"), options: .atomic)
        }
    }

    // From UIApplication's notifications. Ask for `beginBackgroundTask` before `background`, or the request may not get out.
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
        if answer.statusCode == 408 || answer.statusCode == 429 || answer.statusCode >= 500 { // else: not again
            return again(batch, after: Double(answer.value(forHTTPHeaderField: "Retry-After") ?? "") ?? 0)
        }
        pause = 1
        for file in batch.compactMap({ kept.removeValue(forKey: $0) }) { try? FileManager.default.removeItem(at: file) }
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
