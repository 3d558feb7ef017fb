// Uses schemas/examples/clients/Client.kt as an app does: one session in the foreground.
package org.example.telemetry

import java.io.File
import kotlin.concurrent.thread
import kotlin.io.path.createTempDirectory
import kotlin.system.exitProcess
import org.json.JSONObject

fun main(arguments: Array<String>) {
    val refused = mutableListOf<String>()
    val resource = JSONObject().put("service.version", "3.0").put("os.name", "Android").put("device.model.identifier", "Pixel 9")
    val client = Client("${arguments[0]}/v1/events", null, "org.example.kotlin", arguments[1], resource) { reason, _ ->
        synchronized(refused) { refused += reason }
    }
    // What a start before this one left.
    val folder = createTempDirectory().toFile()
    File(folder, "1-a.json").writeText(
        """{"id":"crash-before","name":"app.crash","time":${System.currentTimeMillis() - 60_000},"attributes":{"exception.type":"E"}}"""
    )
    client.keepCrashes(folder)
    client.userId = "ada"
    client.foreground()
    client.send("app.screen.view", mapOf("app.screen.name" to "Home"))
    client.send("app.widget.click", mapOf("app.widget.name" to "Pay"))
    client.send("no.json", mapOf("amount" to Double.NaN))
    client.background()
    Thread.sleep(7_000) // it sends every five seconds
    val isSent = folder.list()!!.isEmpty()
    thread { error("as a crash") }.join()
    val crash = JSONObject(folder.listFiles()!!.single().readText())
    println("$refused $isSent ${crash.getString("name")}")
    val isKept = crash.getJSONObject("attributes").getString("exception.message") == "as a crash"
    exitProcess(if (refused == listOf("not_json") && isSent && isKept) 0 else 1)
}
