import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.security.AlgorithmParameters;
import java.security.Key;
import java.security.KeyPair;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.ProviderException;
import java.security.PublicKey;
import java.security.SecureRandom;
import java.security.Security;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.spec.AlgorithmParameterSpec;
import java.security.spec.ECGenParameterSpec;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.IntStream;
import javax.crypto.AEADBadTagException;
import javax.crypto.BadPaddingException;
import javax.crypto.Cipher;
import javax.crypto.Mac;
import javax.crypto.SecretKey;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.IvParameterSpec;
import javax.crypto.spec.SecretKeySpec;

/**
 * Tries every service that SunPKCS11 offers with a token against the JDK's own providers: java Walk SETTINGS PIN P12.
 * P12 is a key store of one RSA entry, "outside", with the PIN as its password. The provider is never registered: an
 * algorithm asked for without it is the JDK's. Writes a line a service: passed NAME, failed NAME: WHY.
 */
class Walk {
    static final byte[] TEXT = new byte[5003];
    static Provider token;
    private static final int THREADS = 32;
    private static final Map<String, Trial> TRIALS = Map.ofEntries(
        Map.entry("AlgorithmParameters", Walk::parameters), Map.entry("Cipher", Walk::cipher),
        Map.entry("KeyAgreement", Pairs::agreement), Map.entry("KeyFactory", Pairs::factory),
        Map.entry("KeyGenerator", Secrets::generator), Map.entry("KeyPairGenerator", Pairs::generator),
        Map.entry("Mac", Walk::mac), Map.entry("MessageDigest", Walk::digest),
        Map.entry("SecretKeyFactory", Secrets::factory), Map.entry("SecureRandom", Walk::random),
        Map.entry("Signature", Pairs::signature));

    interface Trial {
        void of(String algorithm) throws Exception;
    }

    interface Sink {
        void take(byte[] piece) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        new SecureRandom().nextBytes(TEXT);
        token = Security.getProvider("SunPKCS11").configure(arguments[0]);
        char[] pin = arguments[1].toCharArray();
        KeyStore store = KeyStore.getInstance("PKCS11", token);
        store.load(null, pin);
        var services = new TreeSet<Provider.Service>(Comparator.comparing(each -> each.getType() + each.getAlgorithm()));
        services.addAll(token.getServices());
        for (Provider.Service service : services) {
            String algorithm = service.getAlgorithm();
            Trial trial = service.getType().equals("KeyStore")
                ? name -> keyStore(store, arguments[2], pin) : TRIALS.get(service.getType());
            tried(service.getType() + " " + algorithm, trial, algorithm);
        }
        tried(THREADS + " threads", name -> threads(), "");
    }

    private static void tried(String name, Trial trial, String algorithm) {
        try {
            check(trial != null, "a service that this program does not know");
            trial.of(algorithm);
            System.out.println("passed " + name);
        } catch (Exception | AssertionError error) {
            Throwable cause = error.getCause();
            System.out.println("failed " + name + ": " + error + (cause == null ? "" : " from " + cause));
        }
    }

    static void check(boolean good, String what) {
        if (!good) {
            throw new AssertionError(what);
        }
    }

    static void same(byte[] expected, byte[] found, String what) {
        check(Arrays.equals(expected, found), what + " differs from the JDK's");
    }

    static byte[] random(int length) {
        byte[] bytes = new byte[length];
        new SecureRandom().nextBytes(bytes);
        return bytes;
    }

    /** Gives data in pieces of 1, 3, 7, 15 ... bytes. */
    static void inPieces(byte[] data, Sink sink) throws Exception {
        for (int at = 0, size = 1; at < data.length; at += size, size = 2 * size + 1) {
            sink.take(Arrays.copyOfRange(data, at, Math.min(data.length, at + size)));
        }
    }

    private static void parameters(String name) throws Exception {
        AlgorithmParameterSpec given = switch (name) {
            case "EC" -> new ECGenParameterSpec("secp384r1");
            case "GCM" -> new GCMParameterSpec(128, random(12));
            default -> new IvParameterSpec(random(12));
        };
        AlgorithmParameters ours = AlgorithmParameters.getInstance(name, token);
        AlgorithmParameters theirs = AlgorithmParameters.getInstance(name);
        ours.init(given);
        theirs.init(given);
        same(theirs.getEncoded(), ours.getEncoded(), "the encoding");
    }

    private static void digest(String name) throws Exception {
        MessageDigest ours = MessageDigest.getInstance(name, token);
        byte[] expected = MessageDigest.getInstance(name).digest(TEXT);
        inPieces(TEXT, ours::update);
        same(expected, ours.digest(), "the digest in pieces");
        same(expected, ours.digest(TEXT), "the digest after a digest");
        ours.update(TEXT, 0, 777);
        MessageDigest copy = (MessageDigest) ours.clone();
        copy.update(TEXT, 0, 5);
        ours.update(TEXT, 777, TEXT.length - 777);
        same(expected, ours.digest(), "the digest of what was cloned");
        MessageDigest theirs = MessageDigest.getInstance(name);
        theirs.update(TEXT, 0, 777);
        same(theirs.digest(Arrays.copyOf(TEXT, 5)), copy.digest(), "the clone's digest");
        same(MessageDigest.getInstance(name).digest(), MessageDigest.getInstance(name, token).digest(), "of nothing");
    }

    private static void mac(String name) throws Exception {
        for (int keyBytes : new int[] {16, 32, 200}) {
            SecretKey key = new SecretKeySpec(random(keyBytes), name);
            Mac ours = Mac.getInstance(name, token);
            Mac theirs = Mac.getInstance(name);
            ours.init(key);
            theirs.init(key);
            byte[] expected = theirs.doFinal(TEXT);
            same(expected, ours.doFinal(TEXT), "the MAC");
            inPieces(TEXT, ours::update);
            same(expected, ours.doFinal(), "the MAC in pieces");
        }
    }

    private static void random(String name) throws Exception {
        SecureRandom source = SecureRandom.getInstance(name, token);
        byte[] first = new byte[64];
        byte[] second = new byte[64];
        source.nextBytes(first);
        source.setSeed(new byte[16]);
        source.nextBytes(second);
        check(!Arrays.equals(first, second) && !Arrays.equals(first, new byte[64]), "random bytes repeat");
        check(source.generateSeed(20).length == 20, "the seed's length");
    }

    private static void cipher(String name) throws Exception {
        if (name.startsWith("RSA")) {
            Pairs.cipher(name);
            return;
        }
        String algorithm = name.replaceAll("[_/].*", "");
        boolean aead = name.contains("GCM") || name.contains("Poly1305");
        boolean whole = name.endsWith("NoPadding") && (name.contains("CBC") || name.contains("ECB"));
        for (int keyBytes : Secrets.keyBytes(name)) {
            SecretKey key = Secrets.key(algorithm.startsWith("ChaCha20") ? "ChaCha20" : algorithm, keyBytes);
            // SunPKCS11 itself reads a null pointer when it is to seal nothing with AEAD, whatever the token.
            int[] some = aead ? new int[] {1, 15, 16, 17, 5003} : new int[] {0, 1, 15, 16, 17, 5003};
            for (int length : whole ? new int[] {16, 48, 4096} : some) {
                AlgorithmParameterSpec how = how(name, algorithm);
                byte[] plain = Arrays.copyOf(TEXT, length);
                byte[] expected = crypt(Cipher.getInstance(name), Cipher.ENCRYPT_MODE, key, how, plain, aead);
                byte[] found = crypt(Cipher.getInstance(name, token), Cipher.ENCRYPT_MODE, key, how, plain, aead);
                same(expected, found, "the ciphertext of " + length + " bytes");
                found = crypt(Cipher.getInstance(name, token), Cipher.DECRYPT_MODE, key, how, expected, aead);
                same(plain, found, "the plaintext of " + length + " bytes");
                if (aead || name.contains("CBC/PKCS5")) {
                    refusesAltered(name, key, how, expected, aead);
                }
            }
        }
    }

    private static AlgorithmParameterSpec how(String name, String algorithm) {
        if (name.contains("GCM")) {
            return new GCMParameterSpec(128, random(12));
        }
        int ivBytes = name.startsWith("ChaCha20") ? 12 : algorithm.equals("DESede") ? 8 : 16;
        return name.contains("ECB") ? null : new IvParameterSpec(random(ivBytes));
    }

    private static byte[] crypt(
        Cipher cipher, int mode, Key key, AlgorithmParameterSpec how, byte[] data, boolean aead) throws Exception {
        cipher.init(mode, key, how);
        if (aead) {
            cipher.updateAAD(TEXT, 0, 77);
        }
        var output = new ByteArrayOutputStream();
        inPieces(data, piece -> {
            byte[] part = cipher.update(piece);
            output.writeBytes(part == null ? new byte[0] : part);
        });
        output.writeBytes(cipher.doFinal());
        return output.toByteArray();
    }

    /** Alters the last byte before the last block: the padding, or the tag, is then wrong for certain. */
    private static void refusesAltered(
        String name, SecretKey key, AlgorithmParameterSpec how, byte[] sealed, boolean aead) throws Exception {
        byte[] altered = sealed.clone();
        AlgorithmParameterSpec with = how;
        int block = name.startsWith("DESede") ? 8 : 16;
        if (altered.length > block) {
            altered[altered.length - block - 1] ^= 64;
        } else if (aead) {
            altered[0] ^= 1;
        } else {
            byte[] iv = ((IvParameterSpec) how).getIV();
            iv[block - 1] ^= 64;
            with = new IvParameterSpec(iv);
        }
        try {
            crypt(Cipher.getInstance(name, token), Cipher.DECRYPT_MODE, key, with, altered, aead);
        } catch (BadPaddingException expected) {
            check(!aead || expected instanceof AEADBadTagException, "another exception than of a wrong tag");
            return;
        } catch (ProviderException expected) { // what SunPKCS11 makes of a wrong padding
            check(!aead && String.valueOf(expected.getCause().getMessage()).equals("CKR_ENCRYPTED_DATA_INVALID"), "the code");
            return;
        }
        throw new AssertionError("an altered ciphertext was taken");
    }

    private static void keyStore(KeyStore store, String path, char[] pin) throws Exception {
        SecretKey secret = new SecretKeySpec(random(32), "AES");
        store.setKeyEntry("walk-secret", secret, null, null);
        same(secret.getEncoded(), store.getKey("walk-secret", null).getEncoded(), "the secret key");
        KeyStore outside = KeyStore.getInstance("PKCS12");
        try (FileInputStream file = new FileInputStream(path)) {
            outside.load(file, pin);
        }
        Certificate certificate = outside.getCertificate("outside");
        store.setKeyEntry("walk-pair", outside.getKey("outside", pin), null, new Certificate[] {certificate});
        check(store.getCertificate("walk-pair").equals(certificate), "another certificate came back");
        check("walk-pair".equals(store.getCertificateAlias(certificate)), "the certificate's alias");
        check(store.getCertificateChain("walk-pair").length == 1, "the certificate chain");
        Pairs.agree("SHA256withRSA", null, (PrivateKey) store.getKey("walk-pair", null), certificate.getPublicKey());
        KeyStore again = KeyStore.getInstance("PKCS11", token);
        again.load(null, pin);
        check(Collections.list(again.aliases()).containsAll(Arrays.asList("walk-secret", "walk-pair")), "aliases");
        again.deleteEntry("walk-secret");
        again.deleteEntry("walk-pair");
        again.load(null, pin);
        check(Collections.list(again.aliases()).stream().noneMatch(each -> each.startsWith("walk-")), "what was deleted");
    }

    private static void threads() throws Exception {
        KeyPair pair = Pairs.ours("EC");
        Callable<Void> work = () -> {
            for (int round = 0; round < 3; round++) {
                digest("SHA-256");
                mac("HmacSHA256");
                cipher("AES/GCM/NoPadding");
                Pairs.agree("SHA256withECDSA", null, pair.getPrivate(), pair.getPublic());
            }
            return null;
        };
        ExecutorService pool = Executors.newFixedThreadPool(THREADS);
        try {
            for (var done : pool.invokeAll(IntStream.range(0, THREADS).mapToObj(each -> work).toList())) {
                done.get();
            }
        } finally {
            pool.shutdownNow();
        }
    }
}
