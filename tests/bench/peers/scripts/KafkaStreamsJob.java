import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.processor.TimestampExtractor;
import org.apache.kafka.streams.state.SessionStore;

/**
 * A session window with a count: state in RocksDB with a changelog, sessions to a topic once the stream's time has
 * passed them. It runs twice in one JVM, over the whole topic each time; the second run is measured.
 */
public final class KafkaStreamsJob {
    private static final JsonFactory JSON = new JsonFactory();

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0], topic = arguments[1];
        String warmOutput = arguments[2], output = arguments[3];
        long events = Long.parseLong(arguments[4]);
        Path folder = Path.of(arguments[5]);
        Duration gap = Duration.ofSeconds(Long.parseLong(arguments[6]));
        run(bootstrap, topic, warmOutput, events, folder, gap);
        System.out.println("warm");
        System.in.read();
        run(bootstrap, topic, output, events, folder, gap);
        System.out.println("done");
        System.in.read();
    }

    private static void run(
        String bootstrap, String topic, String output, long events, Path folder, Duration gap
    ) throws Exception {
        CountDownLatch allSeen = new CountDownLatch(1);
        long[] seen = {0};
        AtomicReference<Throwable> failure = new AtomicReference<>();
        StreamsBuilder builder = new StreamsBuilder();
        builder
            .stream(topic, Consumed.with(Serdes.String(), Serdes.ByteArray()).withTimestampExtractor(new EventTime()))
            .peek((device, envelope) -> {
                if (++seen[0] == events) {
                    allSeen.countDown();
                }
            })
            .groupByKey()
            .windowedBy(SessionWindows.ofInactivityGapWithNoGrace(gap))
            .emitStrategy(EmitStrategy.onWindowClose())
            .count(Materialized.<String, Long, SessionStore<Bytes, byte[]>>as("sessions").withRetention(gap.multipliedBy(2)))
            .toStream((window, count) -> window.key())
            .mapValues((device, count) -> ("{\"device\":\"" + device + "\",\"count\":" + count + "}").getBytes(StandardCharsets.UTF_8))
            .to(output, Produced.with(Serdes.String(), Serdes.ByteArray()));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(bootstrap, output, folder));
        streams.setUncaughtExceptionHandler(error -> {
            failure.set(error);
            allSeen.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        allSeen.await();
        // Finishes what was polled, writes what is cached, and commits.
        boolean isClosed = streams.close(Duration.ofMinutes(2));
        if (failure.get() != null || !isClosed) {
            throw new IllegalStateException("the job failed", failure.get());
        }
    }

    private static Properties settings(String bootstrap, String output, Path folder) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "streams-" + output);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, folder.resolve("state").toString());
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 10_000);
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        return settings;
    }

    /** The time of an envelope's event. */
    private static final class EventTime implements TimestampExtractor {
        @Override
        public long extract(ConsumerRecord<Object, Object> record, long partitionTime) {
            try (JsonParser parser = JSON.createParser((byte[]) record.value())) {
                for (JsonToken token = parser.nextToken(); token != null; token = parser.nextToken()) {
                    if (token == JsonToken.FIELD_NAME && parser.currentName().equals("time")) {
                        return parser.nextLongValue(-1);
                    }
                }
                throw new IllegalStateException("an envelope without an event");
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
        }
    }
}
