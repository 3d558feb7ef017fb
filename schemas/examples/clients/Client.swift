// An iOS client: native envelopes to `POST /v1/events` of `session-pipeline receive`. Uses URLSession alone.
import Foundation

actor Client {
    typealias Event = [String: Any]
    private let url: URL // https://collector.example.org/v1/events
    private let key: String? // of the app
    private let head: [String: Any]
    private let onError: @Sendable (_ reason: String, _ count: Int) -> Void
    private var waiting: [Event] = []
    private var seq = 0
    private var sending = false
    private var pause = 1.0
    private var notBefore = Date.distantPast
    var userId: String?

    /// `deviceId`: one for an installation; keep it in the keychain.
    init(url: URL, key: String?, appId: String, deviceId: String, resource: [String: String],
         onError: @escaping @Sendable (String, Int) -> Void) {
        (self.url, self.key, self.onError) = (url, key, onError)
        head = ["v": 1, "app_id": appId, "device_id": deviceId, "resource": resource]
    }

    /// The id is made here, once: whatever is sent again carries it again. The time is taken by the caller, before it waits.
    func send(_ name: String, _ attributes: [String: Any] = [:], at: Date = Date()) {
        seq += 1
        guard waiting.count < 5_000 else { return onError("queue_full", 1) }
        waiting.append(["id": UUID().uuidString, "name": name, "time": Self.ms(at), "seq": seq, "attributes": attributes])
    }

    // From UIApplication's notifications. What waits at the end belongs into a file, and is sent at the next start.
    func foreground() { send("device.app.lifecycle", ["ios.app.state": "foreground"]) }
    func background() { send("device.app.lifecycle", ["ios.app.state": "background"]) }

    /// Every five seconds, and when the app goes to the background.
    func flush() async {
        guard !sending, !waiting.isEmpty, Date() >= notBefore else { return }
        sending = true
        defer { sending = false }
        let batch = take()
        var body = head
        body["sent_at"] = Self.ms(Date()) // of this attempt: by it a wrong clock is corrected
        body["events"] = batch
        if let userId { body["user"] = ["id": userId] }
        var request = URLRequest(url: url)
        request.httpMethod = "POST"
        request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        if let key { request.setValue("Bearer \(key)", forHTTPHeaderField: "Authorization") }
        do {
            request.httpBody = try JSONSerialization.data(withJSONObject: body)
            let (data, answer) = try await URLSession.shared.data(for: request)
            let http = answer as! HTTPURLResponse
            if http.statusCode == 429 || http.statusCode >= 500 {
                return again(batch, after: Double(http.value(forHTTPHeaderField: "Retry-After") ?? "") ?? 0)
            }
            pause = 1
            let said = (try? JSONSerialization.jsonObject(with: data)) as? [String: Any] ?? [:]
            if let refused = said["refused"] as? [Any], !refused.isEmpty {
                onError("\(refused)", refused.count)
            } else if http.statusCode >= 400 {
                onError(said["reason"] as? String ?? "HTTP \(http.statusCode)", batch.count)
            }
        } catch is URLError {
            again(batch, after: 0) // no network: it may have arrived, which the ids make harmless
        } catch {
            onError("\(error)", batch.count) // attributes that are no JSON
        }
    }

    private func take() -> [Event] {
        var bytes = 0, count = 0
        for event in waiting.prefix(500) {
            bytes += ((try? JSONSerialization.data(withJSONObject: event).count) ?? 0) + 1
            if count > 0 && bytes > 500_000 { break } // half of what a record may have
            count += 1
        }
        defer { waiting.removeFirst(count) }
        return Array(waiting.prefix(count))
    }

    private func again(_ batch: [Event], after seconds: Double) {
        waiting.insert(contentsOf: batch, at: 0)
        notBefore = Date(timeIntervalSinceNow: max(seconds, pause * Double.random(in: 0.5...1.5)))
        pause = min(pause * 2, 60)
    }

    private static func ms(_ date: Date) -> Int { Int(date.timeIntervalSince1970 * 1_000) }
}
