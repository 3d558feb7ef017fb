// Uses schemas/examples/clients/Client.kt as an app does: one session in the foreground.
package org.example.telemetry

import org.json.JSONObject
import kotlin.system.exitProcess

fun main(arguments: Array<String>) {
    val refused = mutableListOf<String>()
    val resource = JSONObject().put("service.version", "3.0").put("os.name", "Android").put("device.model.identifier", "Pixel 9")
    val client = Client("${arguments[0]}/v1/events", null, "org.example.kotlin", arguments[1], resource) { reason, _ ->
        synchronized(refused) { refused += reason }
    }
    client.userId = "ada"
    client.foreground()
    client.send("app.screen.view", mapOf("app.screen.name" to "Home"))
    client.send("app.widget.click", mapOf("app.widget.name" to "Pay"))
    client.send("no.json", mapOf("amount" to Double.NaN))
    client.background()
    Thread.sleep(7_000) // it sends every five seconds
    println(refused)
    exitProcess(if (refused == listOf("not_json")) 0 else 1)
}
