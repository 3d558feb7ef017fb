// An Android client: native envelopes to `POST /v1/events` of `session-pipeline receive`. Uses OkHttp and org.json.
package org.example.telemetry

import java.io.File
import java.io.IOException
import java.util.UUID
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit
import okhttp3.HttpUrl.Companion.toHttpUrl
import okhttp3.MediaType.Companion.toMediaType
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.RequestBody.Companion.toRequestBody
import org.json.JSONException
import org.json.JSONObject

class Client(
    url: String, // https://collector.example.org/v1/events
    private val key: String?, // of the app
    private val appId: String,
    private val deviceId: String, // one for an installation: keep it in SharedPreferences
    private val resource: JSONObject,
    private val onError: (reason: String, events: List<String>) -> Unit, // called by a thread of the client's own
) {
    private val address = url.toHttpUrl() // throws at once where it is none
    private val http = OkHttpClient()
    private val worker = Executors.newSingleThreadScheduledExecutor()
    private val waiting = ArrayDeque<String>() // events as JSON; touched by the worker alone
    private val kept = mutableMapOf<String, File>() // of those that wait, the ones that stand in a file
    private var seq = 0L
    private var notBeforeMs = 0L
    private var pauseMs = 1_000L
    @Volatile var userId: String? = null

    init {
        worker.scheduleWithFixedDelay(::flush, 5, 5, TimeUnit.SECONDS)
    }

    /** Id and time are made here, once: whatever is sent again carries them again. */
    fun send(name: String, attributes: Map<String, Any> = emptyMap()) {
        val id = UUID.randomUUID().toString()
        val time = System.currentTimeMillis()
        worker.execute {
            val event = json(id, name, time, ++seq, attributes)
            if (event == null) onError("not_json", listOf(name))
            else if (waiting.size >= MAX_WAITING) onError("queue_full", listOf(event))
            else waiting.addLast(event)
        }
    }

    /**
     * Once, before the first `send`. A crash leaves no time to send anything: it is written to a file of `folder`
     * before the process dies, and sent at the next start, under one id until it is answered. (What waits could be
     * kept likewise.)
     */
    fun keepCrashes(folder: File) {
        folder.mkdirs()
        worker.execute {
            for (file in folder.listFiles { each -> each.extension == "json" }.orEmpty().sortedDescending()) {
                val event = runCatching { file.readText() }.getOrNull() ?: continue
                kept[event] = file
                waiting.addFirst(event)
            }
        }
        val next = Thread.getDefaultUncaughtExceptionHandler()
        Thread.setDefaultUncaughtExceptionHandler { thread, error ->
            runCatching {
                val id = UUID.randomUUID().toString()
                val time = System.currentTimeMillis()
                val event = json(id, "app.crash", time, null, mapOf(
                    "exception.type" to error.javaClass.name,
                    "exception.message" to error.message.orEmpty(),
                    "exception.stacktrace" to error.stackTraceToString().take(100_000),
                ))
                // Under its name once it is whole.
                val part = File(folder, "$time-$id.part")
                part.writeText(event!!)
                part.renameTo(File(folder, "$time-$id.json"))
            }
            next?.uncaughtException(thread, error)
        }
    }

    // From ProcessLifecycleOwner's onStart and onStop.
    fun foreground() = send("device.app.lifecycle", mapOf("android.app.state" to "foreground"))
    fun background() = send("device.app.lifecycle", mapOf("android.app.state" to "background"))

    private fun json(id: String, name: String, time: Long, seq: Long?, attributes: Map<String, Any>): String? = try {
        // On Android toString() gives null for what is no JSON (NaN), and does not throw.
        JSONObject().put("id", id).put("name", name).put("time", time).putOpt("seq", seq)
            .put("attributes", JSONObject(attributes)).toString() as String?
    } catch (_: JSONException) { null }

    private fun flush() {
        if (waiting.isEmpty() || System.currentTimeMillis() < notBeforeMs) return
        val batch = take()
        val head = JSONObject()
            .put("v", 1).put("app_id", appId).put("device_id", deviceId).put("resource", resource)
            .put("sent_at", System.currentTimeMillis()) // of this attempt: by it a wrong clock is corrected
        userId?.let { head.put("user", JSONObject().put("id", it)) }
        val body = batch.joinToString(",", head.toString().dropLast(1) + ",\"events\":[", "]}")
        val request = Request.Builder().url(address).post(body.toRequestBody(JSON))
        key?.let { request.header("Authorization", "Bearer $it") }
        try {
            http.newCall(request.build()).execute().use { answer ->
                if (answer.code == 408 || answer.code == 429 || answer.code >= 500) { // else: not again
                    again(batch, (answer.header("Retry-After")?.toLongOrNull() ?: 0) * 1_000)
                    return
                }
                pauseMs = 1_000
                batch.forEach { kept.remove(it)?.delete() }
                val said = runCatching { JSONObject(answer.body!!.string()) }.getOrDefault(JSONObject())
                val refused = said.optJSONArray("refused")
                if (refused != null && refused.length() > 0) onError(refused.toString(), batch)
                else if (!answer.isSuccessful) onError(said.optString("reason", "HTTP ${answer.code}"), batch)
            }
        } catch (error: IOException) {
            again(batch, 0) // no network: it may have arrived, which the ids make harmless
        }
    }

    private fun take(): List<String> {
        val batch = mutableListOf<String>()
        var bytes = 0
        while (waiting.isNotEmpty() && batch.size < 500) {
            bytes += waiting.first().toByteArray().size + 1
            if (batch.isNotEmpty() && bytes > MAX_BYTES) break
            batch += waiting.removeFirst()
        }
        return batch
    }

    private fun again(batch: List<String>, afterMs: Long) {
        batch.asReversed().forEach(waiting::addFirst)
        notBeforeMs = System.currentTimeMillis() + maxOf(afterMs, (pauseMs * (0.5 + Math.random())).toLong())
        pauseMs = minOf(pauseMs * 2, 60_000)
    }

    private companion object {
        val JSON = "application/json".toMediaType()
        const val MAX_BYTES = 500_000 // half of what a record may have
        const val MAX_WAITING = 5_000
    }
}
